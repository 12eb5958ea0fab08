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
            # The others: AWS and Google over IPv6, Alibaba, Azure.
            "fd00:ec2::254/128",
            "fd20:ce::254/128",
            "100.100.100.200/32",
            "168.63.129.16/32",
            # Many at once.
            "224.0.0.0/4",
            "255.255.255.255/32",
            "ff00::/8",
        ),
    )
)
RULES_VARIABLE = "BUDEVAL_ADDRESS_RULES"
"""Environment variable with the rules as JSON, by which the guard of a playbook's processes gets them."""

_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
_LOW_BITS = 2**32 - 1


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
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        inner.append(IPv4Address(int(address) & _LOW_BITS))
    return [address, *(found for found in inner if found)]


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _texts(networks: Iterable[Network]) -> list[str]:
    return [str(network) for network in networks]
