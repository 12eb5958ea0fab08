"""Remove what a cluster's processes leave on the machine when they end, or are killed."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from dev import process
from dev.layout import ClusterLayout

_POD_LOG_LINKS = Path("/var/log/containers")


def remove(cluster: ClusterLayout) -> None:
    """End the pods, then remove mounts, cgroups and links. The cluster's own processes have ended before."""
    process.kill(process.in_cgroup(cluster.scope))
    unmount_below(cluster.directory)
    _remove_cgroups(cluster.scope)
    _remove_links_into(cluster.directory)


def unmount_below(directory: Path) -> None:
    """Unmount everything mounted in `directory`, the innermost first."""
    for mount in sorted(mounts_below(directory), key=len, reverse=True):
        # Lazily: a reader that is still there must not keep the stack from going away.
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)


def mounts_below(directory: Path) -> Iterable[str]:
    """Mount points in `directory`, from /proc/self/mountinfo (proc(5), field 5)."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = _unescaped(line.split()[4])
        if Path(point).is_relative_to(directory):
            yield point


def _unescaped(path: str) -> str:
    """The kernel writes blanks and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _remove_cgroups(name: str) -> None:
    for top in process.cgroup_directories(name):
        groups = [path for path in top.rglob("*") if path.is_dir()]
        for group in [*sorted(groups, key=lambda path: len(path.parts), reverse=True), top]:
            _remove_cgroup(group)


def _remove_cgroup(group: Path) -> None:
    for _ in range(50):  # the kernel frees a killed process's place a moment later
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return


def _remove_links_into(directory: Path) -> None:
    """The kubelet links its log files into one directory of the machine."""
    if _POD_LOG_LINKS.is_dir():
        for link in _POD_LOG_LINKS.iterdir():
            if link.is_symlink() and link.readlink().is_relative_to(directory):
                link.unlink()


def remove_directory(directory: Path) -> None:
    """Remove a directory with nothing mounted in it any more."""
    unmount_below(directory)
    shutil.rmtree(directory, ignore_errors=True)
