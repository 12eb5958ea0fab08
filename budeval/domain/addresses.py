"""Which addresses a request may send the service to.

Requests name servers: the API server of a kubeconfig, the model's endpoint. Whoever may send one could reach
with the service's feet what he does not reach himself: what listens on this machine alone (the sidecar), and
what clouds tell a machine of itself, its credentials too. Standard library only: playbooks' processes import
this when they start (`budeval/ansible/guard`).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ALWAYS_FORBIDDEN: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            # This machine.
            "0.0.0.0/8",
            "127.0.0.0/8",
            "::/128",
            "::1/128",
            # Link-local: nearly every cloud tells there what a machine is.
            "169.254.0.0/16",
            "fe80::/10",
            # The others: AWS (pods' credentials, too), Google, Scaleway over IPv6; Alibaba, Azure.
            "fd00:ec2::/32",
            "fd20:ce::254/128",
            "fd00:42::42/128",
            "100.100.100.200/32",
            "168.63.129.16/32",
            # IETF's own: Oracle's, and a machine's own side of a way through IPv6 (RFC 6333, RFC 7335).
            "192.0.0.0/24",
            # Many at once.
            "224.0.0.0/4",
            "255.255.255.255/32",
            "ff00::/8",
        ),
    )
)
RULES_VARIABLE = "BUDEVAL_ADDRESS_RULES"
"""Environment variable with the rules as JSON, by which the guard of a playbook's processes gets them."""

_IN_THE_LOW_BITS = tuple(
    map(
        IPv6Network,
        (
            "::/96",  # IPv4-compatible, RFC 4291
            "::ffff:0:0/96",  # IPv4-mapped, RFC 4291
            "::ffff:0:0:0/96",  # translated without state, RFC 2765
            "64:ff9b::/96",  # NAT64, RFC 6052
            "64:ff9b:1::/48",  # NAT64 of a network of its own, RFC 8215
        ),
    )
)
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_LOCAL_NAT64_PREFIXES = (48, 56, 64)
"""Bits; 96 is above. Behind the shorter ones the address goes around the bits 64 to 71 (RFC 6052, 2.2)."""
_NO_HOST = IPv4Network("0.0.0.0/8")
_ISATAP = {0x00005EFE, 0x02005EFE}
"""Third quarter of an address whose last is one of IPv4, behind any prefix (RFC 5214)."""
_QUARTER = 2**32 - 1


@dataclass(frozen=True)
class AddressRules:
    """What is forbidden beside what always is, and what is allowed in spite of either."""

    forbidden: tuple[Network, ...] = ()
    allowed: tuple[Network, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> "AddressRules":
        """The reverse of `to_json`."""
        document = json.loads(text)
        return cls(*(tuple(map(ip_network, document[name])) for name in ("forbidden", "allowed")))

    def to_json(self) -> str:
        """For another process."""
        return json.dumps({"forbidden": _texts(self.forbidden), "allowed": _texts(self.allowed)})

    def forbid(self, text: str) -> bool:
        """Whether nobody may be sent to an address, as `10.0.0.1`. ValueError where it is none."""
        return any(self._forbids(address) for address in _meant(ip_address(text)))

    def _forbids(self, address: Address) -> bool:
        if _within(address, self.allowed):
            return False
        return _within(address, ALWAYS_FORBIDDEN) or _within(address, self.forbidden)


def _meant(address: Address) -> list[Address]:
    """The address, and those of IPv4 to which it may lead by way of IPv6."""
    if isinstance(address, IPv4Address):
        return [address]
    number = int(address)
    found = [address.sixtofour, *(address.teredo or ()), *_behind_local_nat64(address)]
    # `::1` leads nowhere else, and may be allowed without 0.0.0.1.
    if number > 1 and (_within(address, _IN_THE_LOW_BITS) or (number >> 32) & _QUARTER in _ISATAP):
        found.append(IPv4Address(number & _QUARTER))
    return [address, *(inner for inner in found if inner)]


def _behind_local_nat64(address: IPv6Address) -> list[IPv4Address]:
    """By each of the prefixes that a network may have taken; where another is meant they read zeros."""
    if address not in _LOCAL_NAT64:
        return []
    without_gap = (int(address) >> 64 << 56) | (int(address) & 2**56 - 1)
    read = [IPv4Address(without_gap >> (88 - prefix) & _QUARTER) for prefix in _LOCAL_NAT64_PREFIXES]
    return [found for found in read if found not in _NO_HOST]


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _texts(networks: Iterable[Network]) -> list[str]:
    return [str(network) for network in networks]
