"""Ask a cluster's HTTPS servers, as one of the users that `pki` made certificates for."""

import ssl
from typing import Any

import httpx

from dev.cluster import pki
from dev.errors import UnhealthyError
from dev.layout import ClusterLayout


def client(layout: ClusterLayout, user: str = "admin", timeout: float | httpx.Timeout = 3) -> httpx.Client:
    """Trusts the cluster's authority alone, and shows the user's certificate.

    Raises:
        OSError: the certificates are not there (yet).
    """
    keys = pki.directory(layout)
    context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    context.load_cert_chain(keys / f"{user}.crt", keys / f"{user}.key")
    return httpx.Client(timeout=timeout, verify=context, trust_env=False)


def get(layout: ClusterLayout, url: str, user: str = "admin") -> Any:
    """GET a URL of the cluster; JSON as parsed, other text as it is.

    Raises:
        UnhealthyError: no answer, or an error status.
    """
    try:
        with client(layout, user) as asking:
            answer = asking.get(url)
    except (OSError, httpx.HTTPError) as error:
        raise UnhealthyError(f"{url} does not answer: {error or type(error).__name__}") from error
    if answer.is_error:
        raise UnhealthyError(f"{url} answers {answer.status_code} {answer.text[:300]}".strip())
    try:
        return answer.json()
    except ValueError:
        return answer.text
