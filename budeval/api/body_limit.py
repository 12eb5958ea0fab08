"""How much a caller may send. What is more is refused as it comes in, before it is kept or parsed."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TOO_LARGE = 413


class BodyLimit:
    """ASGI middleware: a request's body ends at a limit, with 413."""

    def __init__(self, application: ASGIApp, limit: int) -> None:
        """`limit` is in bytes."""
        self._application = application
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                # Within the application, whose handlers answer it in their shape.
                raise HTTPException(_TOO_LARGE, f"The body has more than {self._limit} bytes.")
            return message

        await self._application(scope, limited if scope["type"] == "http" else receive, send)
