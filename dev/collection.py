"""Install the kubernetes.core Ansible collection, and nothing else, from the wheel that ships it.

    python dev/collection.py requirements/collection.txt SITE_PACKAGES

Under `ansible_collections/` in site-packages Ansible finds it without any setting. pip checks the wheel's
hash. Standard library only: the image's build stage runs it too. The collection is GPL-3.0 and therefore
fetched, never committed.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_MEMBERS = "ansible_collections/kubernetes/core/"


def install(lock: Path, site_packages: Path) -> None:
    """Fetch and unpack, unless this very lock was installed before."""
    stamp = site_packages / _MEMBERS / ".installed-from"
    if stamp.exists() and stamp.read_text() == lock.read_text():
        return
    with tempfile.TemporaryDirectory() as scratch:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        # The wheel holds only data; its Python floor is that of the ansible-core it would bring along.
        any_python = ["--only-binary=:all:", "--python-version=3.12"]
        subprocess.run([*download, *any_python, "--dest", scratch, "--requirement", lock], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.startswith(_MEMBERS)]
            archive.extractall(site_packages, members)
    stamp.write_text(lock.read_text())


if __name__ == "__main__":
    install(Path(sys.argv[1]), Path(sys.argv[2]))
