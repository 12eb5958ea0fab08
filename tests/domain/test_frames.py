"""What comes out of a container's log is whole, or it is refused."""

import base64
import hashlib
import json
import zlib
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from budeval.domain import frames
from budeval.engines.opencompass import extract_results
from budeval.errors import ClusterError

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
_RUN_IDS = st.lists(
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}[a-z0-9]", fullmatch=True), max_size=4, unique=True
)


def _raw_frame(name: str, raw: bytes, **replaced: Any) -> str:
    """A frame of these bytes, with fields replaced."""
    fields = {
        "size": len(raw),
        "digest": hashlib.sha256(raw).hexdigest(),
        "packed": base64.b64encode(zlib.compress(raw)).decode(),
        **replaced,
    }
    return f"BUDEVAL1 {name} {fields['size']} {fields['digest']} {fields['packed']}"


def _log(*run_ids: str, count: int | None = None) -> str:
    """The extractor's log of runs that say nothing but their name."""
    lines = [extract_results.frame(run_id, {"run_id": run_id}) for run_id in run_ids]
    closing = extract_results.frame("-", {"count": len(run_ids) if count is None else count, "eval_id": "e"})
    return "\n".join([*lines, closing, ""])


def _refused(log: str, *run_ids: str) -> ClusterError:
    with pytest.raises(ClusterError) as refused:
        frames.decode(log, run_ids)
    assert refused.value.code == "LOG_CORRUPT"
    assert refused.value.retryable is True
    return refused.value


@given(_RUN_IDS, st.dictionaries(st.text(), _JSON, max_size=4))
def test_what_the_extractor_prints_is_read_back(run_ids: list[str], content: dict[str, Any]) -> None:
    """Any document of any run survives, whatever the text in it is."""
    documents = {run_id: {**content, "run_id": run_id} for run_id in run_ids}
    lines = [extract_results.frame(run_id, document) for run_id, document in documents.items()]
    closing = extract_results.frame("-", {"count": len(run_ids), "eval_id": "e"})

    assert frames.decode("\n".join([*lines, closing]), run_ids) == documents


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n")), max_size=5), st.integers(0, 9)
)
def test_other_lines_are_ignored(stray: list[str], where: int) -> None:
    """Whatever else a log holds, at any place, and however its lines end."""
    assume(not any(line.startswith("BUDEVAL1 ") for line in stray))
    lines = _log("a", "b").splitlines()
    lines[where % 3 : where % 3] = stray

    for end in ("\n", "\r\n"):
        assert frames.decode(end.join(lines), ["a", "b"]).keys() == {"a", "b"}


def test_a_repeated_frame_is_one() -> None:
    """A log that was read twice over says the same."""
    assert frames.decode(_log("a") + _log("a"), ["a"]) == {"a": {"run_id": "a"}}


def test_a_repetition_that_differs_is_refused() -> None:
    """Nothing tells which of two is right, also where it is the closing frame."""
    other = extract_results.frame("a", {"run_id": "a", "status": "success"})

    assert "run a is there twice" in _refused(f"{other}\n{_log('a')}", "a").message
    assert "the closing frame is there twice" in _refused(_log("a", count=2) + _log("a"), "a").message


@given(st.data())
def test_a_log_that_lost_its_end_is_refused(data: st.DataObject) -> None:
    """Cut anywhere before the last character of its last frame, it is not whole."""
    log = _log("a", "b").rstrip("\n")
    end = data.draw(st.integers(0, len(log) - 1))

    _refused(log[:end], "a", "b")


def _read_unchanged_or_refused(log: str) -> None:
    """The documents of the runs a and b, or LOG_CORRUPT; never other documents."""
    try:
        found = frames.decode(log, ["a", "b"])
    except ClusterError as refused:
        assert refused.code == "LOG_CORRUPT"  # noqa: PT017 - either way is right
    else:
        assert found == {"a": {"run_id": "a"}, "b": {"run_id": "b"}}


@given(st.data())
def test_a_changed_character_never_changes_a_document(data: st.DataObject) -> None:
    """Whatever one character becomes, the documents are the same or the log is refused."""
    log = _log("a", "b")
    place = data.draw(st.integers(0, len(log) - 1))
    changed = log[:place] + data.draw(st.characters(codec="ascii")) + log[place + 1 :]

    _read_unchanged_or_refused(changed)


@given(st.data())
def test_an_interleaved_log_never_changes_a_document(data: st.DataObject) -> None:
    """Two writers, a rotation, lines that are torn and joined: whole documents, or a refusal."""
    log = _log("a", "b") + "\n"
    other = data.draw(st.sampled_from([log, "BUDEVAL1 a 9 ", "noise\n", "\n", "BUDEVAL1-PROGRESS {}\n"]))
    cut = data.draw(st.integers(0, len(log)))
    begin = data.draw(st.integers(0, len(log)))
    mixed = data.draw(st.sampled_from([log[:cut] + other + log[cut:], log[begin:], log[cut:] + log[:cut]]))

    _read_unchanged_or_refused(mixed)


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    """Any text is refused in the same way, also behind the mark of a frame."""
    _refused(text, "a")
    _refused(f"BUDEVAL1 {text}", "a")


def test_a_missing_line_is_noticed() -> None:
    """The closing frame counts, and is needed itself."""
    first, second, closing = _log("a", "b").splitlines()

    assert "no closing frame" in _refused(f"{first}\n{second}", "a", "b").message
    assert "counts 2 runs, there are 1" in _refused(f"{first}\n{closing}", "a", "b").message
    assert "counts 2 runs, there are 1" in _refused(f"{second}\n{closing}", "b").message


def test_the_runs_are_those_that_were_asked_for() -> None:
    """No run less and no run more."""
    assert "run b is missing" in _refused(_log("a"), "a", "b").message
    assert "run b was not asked for" in _refused(_log("a", "b"), "a").message
    assert "run a is missing" in _refused(_log("b"), "a").message


def test_a_document_says_whose_it_is() -> None:
    """A frame under another run's name is not that run's."""
    log = f"{extract_results.frame('a', {'run_id': 'b'})}\n{extract_results.frame('-', {'count': 1})}"

    assert "run a holds the document of 'b'" in _refused(log, "a").message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (_raw_frame("a", b'{"run_id":"a"}', digest="0" * 64), "the digest of run a differs"),
        (_raw_frame("a", b'{"run_id":"a"}', size=13), "the length of run a differs"),
        (_raw_frame("a", b'{"run_id":"a"}', size=15), "the length of run a differs"),
        (_raw_frame("a", b'{"run_id":"a"}', packed="AAAA"), "run a cannot be unpacked"),
        (_raw_frame("a", b'{"run_id":"a"}', packed="A"), "run a cannot be unpacked"),
        (_raw_frame("a", b'{"run_id":"a"}', packed="!"), "a frame is torn"),
        (_raw_frame("a", b'{"run_id":"a"}', size="-1"), "a frame is torn"),
        (_raw_frame("a", b"[1]"), "run a is not a JSON object"),
        (_raw_frame("a", b'{"run_id":'), "run a is not JSON"),
        (_raw_frame("a", b'{"run_id":"a","x":NaN}'), "run a is not JSON"),
        (_raw_frame("a", b'{"run_id":"a","x":1e999}'), "run a is not JSON"),
        (_raw_frame("a", b"\xff"), "run a is not JSON"),
        (_raw_frame("a", b"[" * 100_000), "run a is not JSON"),
        ("BUDEVAL1 ", "a frame is torn"),
    ],
)
def test_a_frame_that_is_not_whole_is_named(line: str, said: str) -> None:
    """The message says which frame, and what is wrong with it."""
    assert said in _refused(f"{line}\n{_log('a')}", "a").message


def test_a_bomb_is_not_unpacked() -> None:
    """A frame expands to what it announced at most, and may not announce too much."""
    packed = base64.b64encode(zlib.compress(b" " * (1 << 28), 9)).decode()

    small = _raw_frame("a", b"{}", packed=packed)
    assert "the length of run a differs" in _refused(small, "a").message

    large = _raw_frame("a", b"{}", packed=packed, size=1 << 28)
    assert f"{frames.MAX_DOCUMENT} are allowed" in _refused(large, "a").message


def test_a_document_may_be_as_large_as_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit itself is still within it."""
    raw = json.dumps({"run_id": "a"}).encode()
    log = f"{_raw_frame('a', raw)}\n{extract_results.frame('-', {'count': 1})}"

    monkeypatch.setattr(frames, "MAX_DOCUMENT", len(raw))
    assert frames.decode(log, ["a"]) == {"a": {"run_id": "a"}}

    monkeypatch.setattr(frames, "MAX_DOCUMENT", len(raw) - 1)
    _refused(log, "a")
