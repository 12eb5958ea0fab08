from pathlib import Path

import pytest

from dev.cluster import remains


def test_mounts_are_found_below_a_directory_only() -> None:
    """What is mounted elsewhere is nobody's business."""
    found = list(remains.mounts_below(Path("/proc")))
    assert "/proc" in found
    assert all(Path(point).is_relative_to("/proc") for point in found)


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("/a/plain", "/a/plain"),
        (r"/a/with\040blank", "/a/with blank"),
        (r"/a/back\134slash", r"/a/back\slash"),
        (r"/a/back\134040", r"/a/back\040"),
        ("/a/caf\N{LATIN SMALL LETTER E WITH ACUTE}", "/a/caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
    ],
)
def test_mount_points_are_read_as_the_kernel_writes_them(written: str, path: str) -> None:
    """Blanks and backslashes come as octal numbers; every other letter is itself."""
    assert remains._unescaped(written) == path


def test_directory_is_removed_with_all_it_holds(tmp_path: Path) -> None:
    """Nothing of a directory stays, and a second time is harmless."""
    (tmp_path / "stack" / "log").mkdir(parents=True)
    (tmp_path / "stack" / "log" / "apps.log").write_text("line")
    remains.remove_directory(tmp_path / "stack")
    remains.remove_directory(tmp_path / "stack")
    assert list(tmp_path.iterdir()) == []
