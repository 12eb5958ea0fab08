import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dev import dapr, golang
from dev.errors import CommandFailedError

_FAKE_GO = r"""
for word in "$@"; do echo "argument $word"; done > "$RECORD"
echo "CGO_ENABLED=$CGO_ENABLED" >> "$RECORD"
echo "directory $PWD" >> "$RECORD"
[ -f go.sum ] && echo "go.sum is there" >> "$RECORD"
echo "changed" > go.mod
"""

Install = Callable[[Path, str], None]


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A Go module."""
    directory = tmp_path / "module"
    directory.mkdir()
    (directory / "go.mod").write_text("module made.up")
    (directory / "go.sum").write_text("")
    return directory


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the fake Go on PATH tells how it was called."""
    _install(tmp_path / "bin" / "go", _FAKE_GO)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.defpath}")
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    return tmp_path / "record"


def _install(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_program_is_built_static_from_the_locked_module(module: Path, record: Path, tmp_path: Path) -> None:
    """One package becomes one file, without cgo, with the flags that were asked for."""
    golang.build(module, ["./cmd"], tmp_path / "program", ["-tags=x"])
    words = ["build", "-mod=mod", "-tags=x", "-o", f"{tmp_path}/program", "./cmd"]
    lines = record.read_text().splitlines()
    assert [line for line in lines if line.startswith("argument")] == [f"argument {word}" for word in words]
    assert "CGO_ENABLED=0" in lines
    assert "go.sum is there" in lines


def test_several_programs_are_built_into_a_directory(module: Path, record: Path, tmp_path: Path) -> None:
    """Go takes an output that ends with a slash for a directory."""
    golang.build(module, ["./one", "./two"], tmp_path / "programs")
    assert f"argument {tmp_path}/programs/\n" in record.read_text()
    assert (tmp_path / "programs").is_dir()


def test_build_leaves_the_module_as_it_is(module: Path, record: Path, tmp_path: Path) -> None:
    """Go works on a copy, which does not stay: the checkout's go.mod is not completed by accident."""
    golang.build(module, ["./cmd"], tmp_path / "program")
    (directory,) = [line for line in record.read_text().splitlines() if line.startswith("directory")]
    assert (module / "go.mod").read_text() == "module made.up"
    assert not Path(directory.removeprefix("directory ")).exists()


@pytest.mark.usefixtures("record")
def test_failed_build_tells_the_compilers_words(module: Path, tmp_path: Path) -> None:
    """What the compiler said is in the error."""
    _install(tmp_path / "bin" / "go", "echo 'main.go:3: undefined: x' >&2; exit 1")
    with pytest.raises(CommandFailedError, match="undefined: x"):
        golang.build(module, ["./cmd"], tmp_path / "program")


def test_initialised_dapr_of_this_version_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who ran `dapr init --slim` with this version does not have to build it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("daprd", "placement", "scheduler"):
        _install(tmp_path / ".dapr" / "bin" / name, f"echo {dapr.RUNTIME_VERSION}")
    assert dapr.runtime_path() == tmp_path


@pytest.mark.parametrize(
    ("programs", "script"),
    [
        (["daprd", "placement", "scheduler"], "echo 1.17.0"),
        (["daprd", "placement", "scheduler"], "exit 1"),
        (["daprd", "placement"], f"echo {dapr.RUNTIME_VERSION}"),
        ([], ""),
    ],
)
def test_other_dapr_is_not_used(programs: list[str], script: str, tmp_path: Path) -> None:
    """Another version, a broken or an incomplete set of programs is not taken for the runtime."""
    for name in programs:
        _install(tmp_path / name, script)
    assert not dapr._has_runtime(tmp_path)


@pytest.mark.parametrize("version", ["CLI version: 1.16.5", "CLI version: v1.16.9"])
def test_installed_cli_of_the_known_line_is_used(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `dapr` on PATH is used where it is of the line that was seen working."""
    _install(tmp_path / "dapr", f"printf '{version}\\nRuntime version: n/a\\n'")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert dapr.cli() == tmp_path / "dapr"
