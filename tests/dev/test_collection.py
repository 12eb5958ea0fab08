import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from dev import collection

_CORE = "ansible_collections/kubernetes/core"
_CONTENT = {
    f"{_CORE}/MANIFEST.json": "{}",
    f"{_CORE}/plugins/modules/k8s.py": "# the module",
    "ansible_collections/kubernetes/corefoo/README.md": "another collection",
    "ansible_collections/amazon/aws/MANIFEST.json": "{}",
    "ansible/__init__.py": "",
    "madeup-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: madeup\nVersion: 1.0\n",
    "madeup-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "madeup-1.0.dist-info/RECORD": "",
}


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of a made-up wheel that pip finds in a directory, and nowhere else."""
    packages = tmp_path / "packages"
    packages.mkdir()
    wheel = packages / "madeup-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in _CONTENT.items():
            archive.writestr(name, text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    path = tmp_path / "collection.txt"
    path.write_text(f"madeup==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    return path


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    """Where the collection goes."""
    directory = tmp_path / "site-packages"
    directory.mkdir()
    return directory


def _files(directory: Path) -> list[str]:
    found = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return sorted(str(path) for path in found)


def test_only_kubernetes_core_is_unpacked(lock: Path, site_packages: Path) -> None:
    """Of all that the wheel ships, only the one collection comes into site-packages."""
    collection.install(lock, site_packages)
    expected = [f"{_CORE}/.installed-from", f"{_CORE}/MANIFEST.json", f"{_CORE}/plugins/modules/k8s.py"]
    assert _files(site_packages) == expected
    assert (site_packages / _CORE / "plugins/modules/k8s.py").read_text() == "# the module"


def test_same_lock_is_not_fetched_again(lock: Path, site_packages: Path, tmp_path: Path) -> None:
    """What was installed from this very lock stays, without any download."""
    collection.install(lock, site_packages)
    (tmp_path / "packages" / "madeup-1.0-py3-none-any.whl").unlink()
    collection.install(lock, site_packages)
    assert f"{_CORE}/MANIFEST.json" in _files(site_packages)


def test_other_lock_is_fetched_again(lock: Path, site_packages: Path) -> None:
    """A lock that changed is installed anew."""
    collection.install(lock, site_packages)
    (site_packages / _CORE / "MANIFEST.json").unlink()
    lock.write_text(f"# changed\n{lock.read_text()}")
    collection.install(lock, site_packages)
    assert f"{_CORE}/MANIFEST.json" in _files(site_packages)


def test_wheel_with_another_hash_is_refused(lock: Path, site_packages: Path) -> None:
    """Nothing is unpacked from a wheel that is not the one that was locked."""
    lock.write_text(f"madeup==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(subprocess.CalledProcessError):
        collection.install(lock, site_packages)
    assert _files(site_packages) == []
