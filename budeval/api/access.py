"""Who may do what: API tokens with scopes, each of one tenant, and the routes that only our sidecar may call.

One dependency guards every route of the public API, so a new route is guarded without a word of its own: what
changes something needs `submit`, everything else `read`, and what is a tenant's is there for it only. It has
its say after the framework has read the body; `gate` asks the same before.
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from budeval.config import ApiToken, Scope
from budeval.domain.identifiers import DEFAULT_TENANT
from budeval.errors import RequestError

_SAFE = {"GET", "HEAD"}

_bearer = HTTPBearer(auto_error=False, description="An API token; `budeval new-token` makes one.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


@dataclass(frozen=True)
class Owned:
    """A kind of thing that is there for its tenant only."""

    named_in: Callable[[Request], Iterable[str]]
    """The ids of such things that a request names."""
    tenant_of: Callable[[str], str | None]
    """Whose it is or was, None where there is none."""
    unknown: Callable[[str], RequestError]
    """What is said of one that is not there."""


@dataclass(frozen=True)
class Principal:
    """Who asks."""

    name: str
    tenant: str
    scopes: frozenset[Scope]

    @property
    def sees(self) -> str | None:
        """The tenant whose things he sees; None for those of all."""
        return None if Scope.ADMIN in self.scopes else self.tenant


_ANYBODY_HERE = Principal("loopback", DEFAULT_TENANT, frozenset(Scope))


def new_token() -> tuple[str, str]:
    """A token, and its SHA-256, which is all that the service needs to know of it."""
    token = secrets.token_urlsafe(32)
    return token, digest_of(token)


def digest_of(token: str) -> str:
    """SHA-256 in hex. The tokens are random and long, so nothing slower is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


class Access:
    """Guards the API."""

    def __init__(self, tokens: tuple[ApiToken, ...], app_token: str | None, owned: Sequence[Owned]) -> None:
        """`app_token` is what our sidecar shows (APP_API_TOKEN). Without tokens only loopback is served."""
        self._tokens = tokens
        self._app_token = app_token
        self._owned = owned

    def guard(self, request: Request, _documented: Bearer) -> None:
        """Let a request of the public API pass, and note in it who asks.

        Raises:
            RequestError: what `admit` says; that it is not there (404) for what is another tenant's.
        """
        principal = self.admit(request)
        if principal.sees is not None:
            self._require_own(principal.sees, request)
        request.state.principal = principal

    def admit(self, request: Request) -> Principal:
        """Who asks, by the request's head alone; asks nobody else.

        Raises:
            RequestError: TOKEN_REQUIRED or TOKEN_INVALID (401), SCOPE_MISSING (403).
        """
        principal = self._principal(request, _token_of(request))
        scope = Scope.READ if request.method in _SAFE else Scope.SUBMIT
        if not {scope, Scope.ADMIN} & principal.scopes:
            raise _scope_missing(principal, scope)
        return principal

    def guard_from_outside(self, request: Request) -> None:
        """Let only our sidecar pass.

        Raises:
            RequestError: SIDECAR_ONLY (403).
        """
        shown = request.headers.get("dapr-api-token", "")
        known = _same(shown, self._app_token) if self._app_token else _is_loopback(request)
        if not known:
            raise RequestError("This route is the sidecar's alone.", status=403, code="SIDECAR_ONLY")

    def _require_own(self, tenant: str, request: Request) -> None:
        for kind in self._owned:
            for named in kind.named_in(request):
                if kind.tenant_of(named) not in {None, tenant}:
                    raise kind.unknown(named)

    def _principal(self, request: Request, token: str | None) -> Principal:
        if not self._tokens:
            if _is_loopback(request):
                return _ANYBODY_HERE
            text = "No API tokens are set (BUDEVAL_API_TOKENS): then only this machine itself is served."
            raise RequestError(text, status=401, code="TOKEN_REQUIRED")
        if not token:
            text = "Give an API token: `Authorization: Bearer …`, or BUDEVAL_TOKEN for `budeval`."
            raise RequestError(text, status=401, code="TOKEN_REQUIRED")
        digest = digest_of(token)
        found = [known for known in self._tokens if _same(digest, known.sha256)]
        if not found:
            raise RequestError("The API token is not known.", status=401, code="TOKEN_INVALID")
        return Principal(found[0].name, found[0].tenant, found[0].scopes)


def _token_of(request: Request) -> str | None:
    scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
    return token if scheme.lower() == "bearer" else None


def _scope_missing(principal: Principal, scope: Scope) -> RequestError:
    text = f"The token {principal.name!r} does not have the scope {scope.value!r}."
    return RequestError(text, status=403, code="SCOPE_MISSING")


def principal_of(request: Request) -> Principal:
    """Who asks, as the guard has noted it."""
    principal: Principal = request.state.principal
    return principal


AskedBy = Annotated[Principal, Depends(principal_of)]


def require_admin(caller: AskedBy) -> None:
    """Let only administrators pass: what is asked for spans tenants.

    Raises:
        RequestError: SCOPE_MISSING (403).
    """
    if Scope.ADMIN not in caller.scopes:
        raise _scope_missing(caller, Scope.ADMIN)


def _same(shown: str, known: str) -> bool:
    return hmac.compare_digest(shown.encode(), known.encode())


def _is_loopback(request: Request) -> bool:
    """A proxy on this machine tells in X-Forwarded-For whom it speaks for, and uvicorn believes it."""
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
