"""containerd's image store with every image already unpacked, made once and shared by all stacks.

Unpacking OpenCompass takes half a minute; linking an unpacked store takes a second. Layers and blobs never
change once written, so they are hard links; the databases are copies.
"""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from dev import cache, command, console, images
from dev.cluster import containerd
from dev.errors import CommandFailedError, DevError

_START_SECONDS = 30.0


def fill(root: Path) -> None:
    """Give a containerd that never ran its images. One that ran keeps its store."""
    if _stamp(root).exists():
        return
    wanted = _store()
    shutil.rmtree(root, ignore_errors=True)  # torn by a crash
    root.parent.mkdir(parents=True, exist_ok=True)
    command.run(["cp", "--archive", "--link", wanted, root])
    for database in root.rglob("*.db"):
        copy = database.with_suffix(".copy")
        shutil.copy2(database, copy)
        copy.replace(database)
    _stamp(root).write_text(wanted.name)


def refresh(root: Path, socket: Path) -> None:
    """Bring a running containerd the images of this checkout, where they changed since it was filled."""
    wanted = _store()
    if _stamp(root).read_text() == wanted.name:
        return
    with console.step("loading changed images", "40 s"):
        _load([image.archive() for image in images.for_clusters()], socket)
    _stamp(root).write_text(wanted.name)


def _stamp(root: Path) -> Path:
    return root / "made-from"


def prepare() -> None:
    """Build the images and the store, so that a stack that starts finds them."""
    _store()


def _store() -> Path:
    wanted = images.for_clusters()
    made_from: list[cache.Ingredient] = [part for image in wanted for part in image.ingredients]
    archives = [image.archive() for image in wanted]

    def build(target: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="bud-") as scratch:
            _import(archives, target, Path(scratch))

    return cache.entry("image-store", made_from, build, what="unpacking the images", usually="40 s")


def _import(archives: list[Path], root: Path, scratch: Path) -> None:
    socket = scratch / "containerd.sock"
    settings = scratch / "containerd.toml"
    settings.write_text(containerd.configuration(root, scratch / "run", socket, scratch / "cni"))
    with (scratch / "log").open("wb") as log:
        # It ends with this process, however that ends.
        alone: list[str | Path] = ["setpriv", "--pdeathsig", "KILL", "containerd", "--config", settings]
        daemon = subprocess.Popen(alone, stdout=log, stderr=log)
        try:
            _wait_until_ready(socket, scratch / "log")
            _load(archives, socket)
        finally:
            daemon.terminate()
            daemon.wait()


def _load(archives: list[Path], socket: Path) -> None:
    for archive in archives:
        command.run(["ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", archive])


def _wait_until_ready(socket: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            command.run(["ctr", "--address", socket, "version"], timeout=5)
        except CommandFailedError:
            if time.monotonic() > deadline:
                raise DevError(f"containerd did not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.2)
        else:
            return
