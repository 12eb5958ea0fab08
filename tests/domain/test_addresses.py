"""To which addresses nobody is sent by a request."""

from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budeval.domain.addresses import AddressRules

_USUAL = AddressRules()
_STRICT = AddressRules(
    forbidden=(ip_network("0.0.0.0/0"), ip_network("::/0")),
    allowed=(ip_network("10.1.0.0/16"), ip_network("127.0.0.1/32")),
)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",
        "::",
        "::1",
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:42::42",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "192.0.0.2",
        "224.0.0.251",
        "255.255.255.255",
        "ff02::1",
    ],
)
def test_this_machine_and_what_clouds_tell_it_are_forbidden(address: str) -> None:
    """Without any setting."""
    assert _USUAL.forbid(address)


@pytest.mark.parametrize(
    "address", ["10.88.0.1", "192.168.1.7", "172.16.0.1", "203.0.113.9", "2001:db8::1", "fd12:3456::1"]
)
def test_other_addresses_are_not(address: str) -> None:
    """Clusters and models are on private networks."""
    assert not _USUAL.forbid(address)


@pytest.mark.parametrize(
    "way",
    [
        "::ffff:{dotted}",
        "::ffff:{dotted}%eth0",
        "::{dotted}",
        "::ffff:0:{dotted}",
        "64:ff9b::{dotted}",
        "64:ff9b:1::{dotted}",
        "64:ff9b:1:7:8:9:{dotted}",
        "64:ff9b:1:{a}{b}:00{c}:{d}00::",  # behind a prefix of 48 bits
        "64:ff9b:1:07{a}:00{b}:{c}{d}::",  # 56
        "64:ff9b:1:7:00{a}:{b}{c}:{d}00::",  # 64
        "2002:{a}{b}:{c}{d}::",
        "2002:{a}{b}:{c}{d}::1",
        "2001:0:{a}{b}:{c}{d}::",  # Teredo, by its server
        "2001:0:100:1::{inverted}",  # Teredo, by its client
        "2001:db8::5efe:{dotted}",
        "2001:db8::200:5efe:{dotted}",
    ],
)
@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "192.0.0.192"])
def test_an_address_within_another_is_the_same(way: str, address: str) -> None:
    """IPv6 has several ways to write one of IPv4, and some gateways follow them."""
    octets = [f"{octet:02x}" for octet in IPv4Address(address).packed]
    inverted = IPv4Address(int(IPv4Address(address)) ^ 0xFFFFFFFF)
    written = way.format(dotted=address, inverted=inverted, **dict(zip("abcd", octets, strict=True)))

    assert _USUAL.forbid(written)
    assert AddressRules(allowed=(ip_network("::/0"),)).forbid(written)


@pytest.mark.parametrize(
    "way",
    [
        "::ffff:{}",
        "::ffff:0:{}",
        "64:ff9b::{}",
        "64:ff9b:1::{}",
        "2001:db8::5efe:{}",
    ],
)
def test_what_leads_to_another_address_is_not(way: str) -> None:
    """A cluster of IPv4 may be reached by way of IPv6; networks that are forbidden are so either way."""
    assert not _USUAL.forbid(way.format("10.88.0.1"))
    assert AddressRules(forbidden=(ip_network("10.0.0.0/8"),)).forbid(way.format("10.88.0.1"))


def test_this_machine_may_be_allowed_by_its_own_address() -> None:
    """As it is written, without those that one could read into it."""
    assert not AddressRules(allowed=(ip_network("::1"),)).forbid("::1")


@pytest.mark.parametrize(
    ("address", "forbidden"),
    [
        ("10.1.2.3", False),
        ("127.0.0.1", False),
        ("127.0.0.2", True),
        ("10.2.0.1", True),
        ("169.254.169.254", True),
        ("2001:db8::1", True),
    ],
)
def test_settings_forbid_more_and_allow_what_they_name(address: str, *, forbidden: bool) -> None:
    """What is allowed counts, also against what always is forbidden, and no more than it."""
    assert _STRICT.forbid(address) is forbidden


@given(st.ip_addresses())
def test_rules_pass_to_another_process_as_they_are(address: object) -> None:
    """Both processes judge every address alike."""
    assert AddressRules.from_json(_STRICT.to_json()).forbid(str(address)) is _STRICT.forbid(str(address))


@pytest.mark.parametrize("text", ["localhost", "", "10.0.0.1:80", "127.1"])
def test_what_is_no_address_is_not_judged(text: str) -> None:
    """Whoever asks must have resolved it: a name is never taken for allowed."""
    with pytest.raises(ValueError, match="does not appear to be"):
        _USUAL.forbid(text)
