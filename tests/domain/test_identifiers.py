"""Names that come from outside."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from budeval.domain.identifiers import DnsLabel

_LABEL: TypeAdapter[str] = TypeAdapter(DnsLabel)
_OUTER = "abcdefghijklmnopqrstuvwxyz0123456789"


@given(
    st.from_regex(re.compile(r"[a-z0-9]", re.ASCII), fullmatch=True),
    st.text(alphabet=f"{_OUTER}-", max_size=61),
    st.from_regex(re.compile(r"[a-z0-9]", re.ASCII), fullmatch=True),
)
def test_labels_are_taken_as_they_are(first: str, middle: str, last: str) -> None:
    """Every RFC 1123 label passes unchanged."""
    label = first + middle + last

    assert _LABEL.validate_python(label) == label


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-",
        "-a",
        "a-",
        "A",
        "a_b",
        "a.b",
        "a b",
        " a",
        "a\n",
        "\na",
        "a\x00",
        "../a",
        "a/b",
        "ä",
        "\u0661",
        "a" * 64,
    ],
)
def test_other_names_are_refused(name: str) -> None:
    """What Kubernetes would refuse, or what would leave a directory or break a key, does not come in."""
    with pytest.raises(ValidationError):
        _LABEL.validate_python(name)


@given(st.text(max_size=70))
def test_no_text_that_is_taken_leads_elsewhere(text: str) -> None:
    """Whatever passes is a plain file name and holds nothing that a state key is divided by."""
    try:
        label = _LABEL.validate_python(text)
    except ValidationError:
        return

    assert set(label) <= set(f"{_OUTER}-")
    assert 0 < len(label) <= 63
