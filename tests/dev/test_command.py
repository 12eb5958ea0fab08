import sys
from pathlib import Path

import pytest

from dev import command, console
from dev.errors import CommandFailedError


def _python(code: str) -> list[str | Path]:
    return [sys.executable, "-c", code]


def test_output_is_returned() -> None:
    """Standard output is the result; standard error is not part of it."""
    code = "import sys; print('out'); print('err', file=sys.stderr)"
    assert command.run(_python(code)) == "out\n"


def test_environment_is_added_to_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sees the caller's environment, with the additions on top."""
    monkeypatch.setenv("KEPT", "caller")
    monkeypatch.setenv("CHANGED", "caller")
    code = "import os; print(os.environ['KEPT'], os.environ['CHANGED'])"
    assert command.run(_python(code), environment={"CHANGED": "added"}) == "caller added\n"


@pytest.mark.parametrize(("given", "read"), [(None, ""), ("text", "text")])
def test_standard_input_is_what_is_given(given: str | None, read: str) -> None:
    """A command never reads the caller's terminal."""
    assert command.run(_python("import sys; print(sys.stdin.read(), end='')"), stdin=given) == read


def test_directory_is_where_it_runs(tmp_path: Path) -> None:
    """A command runs where it is told."""
    assert command.run(_python("import os; print(os.getcwd())"), cwd=tmp_path) == f"{tmp_path}\n"


def test_failure_tells_status_and_the_outputs_end() -> None:
    """The error holds the last lines of what the command said, and not all of it."""
    code = "import sys; [print(f'line {n}.') for n in range(100)]; sys.exit('no space left')"
    with pytest.raises(CommandFailedError, match="ended with 1:") as failure:
        command.run(_python(code))
    assert str(failure.value).endswith("line 99.\nno space left")
    assert "line 9." not in str(failure.value)


def test_missing_program_is_told_by_name() -> None:
    """A program that is not there is an expected failure."""
    with pytest.raises(CommandFailedError, match="no-such-program could not be started"):
        command.run(["no-such-program"])


def test_command_that_takes_too_long_is_killed() -> None:
    """A command that hangs ends the wait with an error."""
    with pytest.raises(CommandFailedError, match="did not end within 0 s"):
        command.run(_python("import time; time.sleep(300)"), timeout=0.2)


def test_output_that_is_no_text_is_no_crash() -> None:
    """Bytes that are not UTF-8 are replaced."""
    assert command.run(_python(r"import os; os.write(1, b'caf\xe9')")) == "caf\N{REPLACEMENT CHARACTER}"


def test_step_tells_begin_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    """A step says what is done, what to expect, and that it is over."""
    with console.step("building Dapr", "5 min"):
        console.say("between")
    lines = [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines[0] == "building Dapr ... (usually 5 min)"
    assert lines[1] == "between"
    assert lines[2].startswith("building Dapr: done in ")


def test_failed_step_tells_so_and_lets_the_error_through(capsys: pytest.CaptureFixture[str]) -> None:
    """A step that fails is not called done."""
    with pytest.raises(LookupError), console.step("building Dapr"):
        raise LookupError
    said = capsys.readouterr().err
    assert "building Dapr: failed after" in said
    assert "done" not in said
