"""Holds the service to the rules for addresses: where a request names a host, and where it connects."""

import asyncio
import socket

import httpx

from budeval.config import Settings
from budeval.domain.addresses import AddressRules
from budeval.errors import RequestError

_HTTPS = 443


def rules_from(settings: Settings) -> AddressRules:
    """The rules of a service."""
    return AddressRules(settings.forbidden_networks, settings.allowed_networks)


def require_allowed(rules: AddressRules, host: str, param: str, *, resolve: bool = True) -> list[str]:
    """The addresses of a host that a request names; none where its name cannot be resolved (yet).

    Args:
        rules: what is forbidden.
        host: a name or an address.
        param: the field that names it.
        resolve: find out what a name stands for; otherwise only an address is looked at.

    Raises:
        RequestError: ADDRESS_FORBIDDEN (422), one of them is.
    """
    found = _addresses_of(host, 0 if resolve else socket.AI_NUMERICHOST)
    if any(map(rules.forbid, found)):
        text = f"{host} leads to an address that requests may not name (see BUDEVAL_ALLOWED_NETWORKS)."
        raise RequestError(text, status=422, code="ADDRESS_FORBIDDEN", param=param)
    return found


def _addresses_of(host: str, flags: int) -> list[str]:
    """As whoever connects would understand it: `127.1`, `0x7f000001` and `2130706433` are addresses, too."""
    try:
        found = socket.getaddrinfo(host, _HTTPS, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


class GuardedTransport(httpx.AsyncBaseTransport):
    """Connects to the very addresses that were looked at: a name may stand for others a moment later."""

    def __init__(
        self, rules: AddressRules, param: str, inner: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`param` is the field that names the hosts; `inner` is given by tests."""
        self._rules = rules
        self._param = param
        self._inner = inner or httpx.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it to the first of the host's addresses that takes it.

        Raises:
            RequestError: ADDRESS_FORBIDDEN.
            httpx.TransportError: none of them has answered.
        """
        host = request.url.host
        refusal: httpx.TransportError = httpx.ConnectError("the name cannot be resolved", request=request)
        for address in await asyncio.to_thread(require_allowed, self._rules, host, self._param):
            request.url = request.url.copy_with(host=address)
            # The header `Host` is there already, and certificates are of the name.
            request.extensions = {**request.extensions, "sni_hostname": host}
            try:
                return await self._inner.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                refusal = error
        raise refusal

    async def aclose(self) -> None:
        """Close what is connected."""
        await self._inner.aclose()
