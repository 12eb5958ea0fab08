"""The key is in no file that a run leaves."""

from pathlib import Path

from budeval.engines.in_pod.masking import mask


def test_a_word_is_not_a_secret(tmp_path: Path) -> None:
    """Servers without keys are given one such as `EMPTY`, which ordinary texts have in them."""
    (tmp_path / "a.out").write_text("EMPTY reply")

    mask(str(tmp_path), "EMPTY")

    assert (tmp_path / "a.out").read_text() == "EMPTY reply"
