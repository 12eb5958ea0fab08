"""Names that come from outside and end up in Kubernetes, in paths and in state keys."""

from typing import Annotated

from pydantic import StringConstraints

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"

DnsLabel = Annotated[str, StringConstraints(pattern=DNS_LABEL)]
"""An RFC 1123 label: lower-case letters, digits and dashes, at most 63, no dash at the ends. Safe as a
Kubernetes name, a file name and a part of a key."""
