import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dev import layout
from dev.__main__ import app
from dev.layout import StackLayout

_COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def _dev(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m dev` with a home of its own, and without any program that it could build with."""
    return subprocess.run(
        [sys.executable, "-m", "dev", *arguments],
        cwd=layout.CHECKOUT,
        env={"BUDEVAL_DEV_HOME": str(home), "PATH": str(home / "no-programs"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _only_line(text: str) -> str:
    """The one error that a command ended with, without the time that it took."""
    (line,) = text.splitlines()
    begin, _, reason = line.partition(" s: ")
    assert begin.startswith("error after ")
    return reason


def test_help_lists_the_commands(tmp_path: Path) -> None:
    """`python -m dev --help` says what there is, and touches nothing."""
    done = _dev(tmp_path, "--help")
    assert done.returncode == 0
    assert [name for name in _COMMANDS if f" {name} " not in done.stdout] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", _COMMANDS)
def test_each_command_explains_itself(name: str) -> None:
    """Each command's --help has more to say than its usage line."""
    result = CliRunner().invoke(app, [name, "--help"])
    said = [line for line in result.stdout.splitlines() if line.strip() and "Usage:" not in line]
    assert result.exit_code == 0
    assert len(said[0].split()) > 3


def test_without_a_command_the_help_is_shown(tmp_path: Path) -> None:
    """Somebody who types nothing learns what can be typed."""
    done = _dev(tmp_path)
    assert "Usage: python -m dev" in done.stdout + done.stderr


@pytest.mark.parametrize("command", [["status"], ["kubectl", "--", "get", "nodes"]])
def test_missing_stack_is_one_clear_line(command: list[str], tmp_path: Path) -> None:
    """Without a stack a command that needs one exits 1 and says how to start it."""
    done = _dev(tmp_path, *command)
    name = StackLayout.of_checkout().name
    assert done.returncode == 1
    assert done.stdout == ""
    assert _only_line(done.stderr) == f"There is no stack {name}. `make up` starts it."


@pytest.mark.parametrize("content", ["", '{"checkout": "/wor', "[]", '{"unknown": 1}'])
def test_torn_plan_is_no_stack(content: str, tmp_path: Path) -> None:
    """A plan that a crash or another version left is as good as none."""
    name = StackLayout.of_checkout().name
    (tmp_path / "stacks" / name).mkdir(parents=True)
    (tmp_path / "stacks" / name / "plan.json").write_text(content)
    done = _dev(tmp_path, "status")
    assert done.returncode == 1
    assert "There is no stack" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("clusters", ["3", "0", "-1"])
def test_number_of_clusters_is_limited(clusters: str, tmp_path: Path) -> None:
    """More clusters than there are addresses for are refused before anything is made."""
    done = _dev(tmp_path, "up", CLUSTERS=clusters)
    assert done.returncode == 1
    assert _only_line(done.stderr) == f"CLUSTERS={clusters}: it can be 1 to 2."
    assert list(tmp_path.iterdir()) == []


def test_number_of_clusters_is_a_number(tmp_path: Path) -> None:
    """A mistyped CLUSTERS is refused by name, as wrong usage."""
    done = _dev(tmp_path, "up", CLUSTERS="two")
    assert done.returncode == 2
    assert "CLUSTERS" in done.stderr


def test_missing_go_is_told_before_anything_is_made(tmp_path: Path) -> None:
    """`make up` on a machine without Go ends with one line that says what to install."""
    done = _dev(tmp_path, "up", KUBECONFIG=str(tmp_path / "config"))
    assert done.returncode == 1
    assert "No `go` on PATH" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_down_is_harmless_where_there_is_nothing(tmp_path: Path) -> None:
    """A stack that is not there is taken down without complaint."""
    done = _dev(tmp_path, "down", "--name", "bud-00000000", PATH=os.defpath)
    assert done.returncode == 0
    assert done.stderr.endswith("stack bud-00000000 is down\n")


def test_down_removes_what_an_unfinished_start_left(tmp_path: Path) -> None:
    """The stack's directory goes, another stack's and the cache stay."""
    for name in ("stacks/bud-00000000/log", "stacks/bud-11111111", "cache/dapr-1"):
        (tmp_path / name).mkdir(parents=True)
    _dev(tmp_path, "down", "--name", "bud-00000000", PATH=os.defpath)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("[cs]*/*"))
    assert left == ["cache/dapr-1", "stacks/bud-11111111"]


def test_list_shows_the_stacks_of_all_checkouts(tmp_path: Path) -> None:
    """Each stack of the home is a line, also one whose start did not get far."""
    for name in ("bud-00000000", "bud-11111111"):
        (tmp_path / "stacks" / name).mkdir(parents=True)
    done = _dev(tmp_path, "list")
    assert done.stdout.splitlines() == ["bud-00000000  unfinished", "bud-11111111  unfinished"]
