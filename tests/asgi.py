"""Calls an application without a server between."""

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI


class Caller:
    """An HTTP client of one application, whose lifespan is not started."""

    def __init__(self, application: FastAPI, client: str = "127.0.0.1") -> None:
        """`client` is the address that it calls from."""
        self._application = application
        self._client = client

    def get(self, path: str) -> httpx.Response:
        """GET."""
        return self.request("GET", path)

    def post(self, path: str, **more: Any) -> httpx.Response:
        """POST."""
        return self.request("POST", path, **more)

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Any method."""
        return asyncio.run(self._send(method, path, **more))

    async def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        # A server answers and logs what an application raises.
        transport = httpx.ASGITransport(
            self._application, raise_app_exceptions=False, client=(self._client, 50000)
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, **more)
