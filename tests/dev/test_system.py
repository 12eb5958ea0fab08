from collections.abc import Callable
from pathlib import Path

import pytest

from dev import system
from dev.errors import UnsupportedSystemError
from dev.system import Machine

_ROOT = Machine("Linux", "x86_64", 0)
_SOMEBODY = Machine("Linux", "x86_64", 1000)

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts fake programs, shell scripts, on a PATH that holds nothing else."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))

    def put(name: str, script: str) -> None:
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)

    return put


@pytest.mark.parametrize(
    ("machine", "own_cluster", "reason", "way_out"),
    [
        (Machine("Darwin", "arm64", 0), True, "this is Darwin arm64", "virtual machine with Debian 12"),
        (Machine("Darwin", "x86_64", 0), False, "this is Darwin x86_64", "virtual machine with Debian 12"),
        (Machine("Linux", "aarch64", 0), True, "this is Linux aarch64", "virtual machine with Debian 12"),
        (_SOMEBODY, True, "needs root", "`KUBECONFIG=/path/to/config make up`"),
    ],
)
def test_machine_that_cannot_work_is_refused_with_the_way_out(
    machine: Machine,
    own_cluster: bool,  # noqa: FBT001 - the parameter under test
    reason: str,
    way_out: str,
) -> None:
    """The refusal says what is wrong with this machine and what to do."""
    with pytest.raises(UnsupportedSystemError) as failure:
        system.require(own_cluster=own_cluster, machine=machine)
    assert reason in str(failure.value)
    assert way_out in str(failure.value)


@pytest.mark.usefixtures("install")
@pytest.mark.parametrize("machine", [_ROOT, _SOMEBODY])
def test_missing_go_is_told_with_the_version_to_install(machine: Machine) -> None:
    """Without Go nothing can be built, which is said before anything is tried."""
    with pytest.raises(UnsupportedSystemError, match=r"No `go` on PATH.*Install Go >= 1\.26"):
        system.require(own_cluster=False, machine=machine)


@pytest.mark.parametrize("version", ["go1.25.9", "go1.9", "devel +abcdef", ""])
def test_old_go_is_told_with_the_version_to_install(version: str, install: Install) -> None:
    """A Go that is too old, or that says nothing, is refused by name."""
    install("go", f"echo '{version}'")
    with pytest.raises(UnsupportedSystemError) as failure:
        system.require(own_cluster=False, machine=_SOMEBODY)
    assert str(failure.value) == f"Go >= 1.26 is needed, this is {version}."


@pytest.mark.parametrize("version", ["go1.26", "go1.26.3", "go1.100.0", "go2.0", "go1.27rc1"])
def test_new_go_is_enough_with_a_cluster_of_ones_own(version: str, install: Install, tmp_path: Path) -> None:
    """With Go, Redis and a foreign cluster neither root nor a package manager is needed."""
    install("go", f"echo {version}")
    install("redis-server", "exit 1")
    install("apt-get", f"echo called >> {tmp_path}/calls")
    system.require(own_cluster=False, machine=_SOMEBODY)
    assert not (tmp_path / "calls").exists()


def test_packages_are_not_installed_by_somebody(install: Install, tmp_path: Path) -> None:
    """Who is not root is told the packages that are missing, and nothing is tried."""
    install("go", "echo go1.26")
    install("apt-get", f"echo called >> {tmp_path}/calls")
    with pytest.raises(
        UnsupportedSystemError, match=r"packages are missing: redis-server.*on Debian as root"
    ):
        system.require(own_cluster=False, machine=_SOMEBODY)
    assert not (tmp_path / "calls").exists()


def test_packages_are_not_installed_without_apt(install: Install) -> None:
    """Root on another distribution is told all packages that are missing, in one go."""
    install("go", "echo go1.26")
    install("containerd", "exit 1")
    with pytest.raises(UnsupportedSystemError, match=r"packages are missing: buildah .*socat") as failure:
        system.require(own_cluster=True, machine=_ROOT)
    assert " containerd " not in str(failure.value)


@pytest.mark.parametrize(("script", "answer"), [("echo 27.0", True), ("echo 'no daemon' >&2; exit 1", False)])
def test_docker_counts_only_with_its_daemon(
    script: str,
    answer: bool,  # noqa: FBT001 - the expected value
    install: Install,
) -> None:
    """A Docker client without a daemon builds nothing."""
    install("docker", script)
    assert system.has_docker() is answer


@pytest.mark.usefixtures("install")
def test_no_docker_is_no_error() -> None:
    """Most machines have none."""
    assert system.has_docker() is False
