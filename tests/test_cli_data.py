"""`budeval data`, and how whole files are pushed, against a service that gathers parts."""

import base64
import gzip
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from budeval import client_data
from budeval.client import ApiError
from budeval.client_data import measured, packed_part, push_file
from budeval.domain.datasets import PART_LIMIT, PushState
from budeval.errors import RequestError
from tests.fake_service import FakeService, only_line, refusal, run_budeval

_PARTS = "POST /data/parts"
_NOISE = random.Random(7).randbytes(PART_LIMIT * 2 + 12345)  # noqa: S311 - bytes that do not shrink

Json = dict[str, Any]


class GatheringService(FakeService):
    """Gathers what is pushed; `failures` come before the answers, `torn` bytes are there already."""

    def __init__(self, torn: int = 0, *failures: httpx.Response | BaseException) -> None:
        super().__init__()
        self.there = torn
        self.failures = list(failures)
        self.sent: list[tuple[int, int]] = []

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if f"{request.method} {request.url.path}" != _PARTS:
            return super()._answer(request)
        self.requests.append(request)
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, BaseException):
                raise failure
            return failure
        part = json.loads(request.content)
        packed = base64.b64decode(part["data"])
        assert len(packed) <= PART_LIMIT
        raw = gzip.decompress(packed)
        self.sent.append((part["offset"], len(raw)))
        if part["offset"] <= self.there:
            self.there = max(self.there, part["offset"] + len(raw))
        state = "stored" if self.there == part["bytes"] else "partial"
        told = {name: part[name] for name in ("path", "bytes", "sha256")}
        return httpx.Response(200, json={**told, "state": state, "received": self.there})


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_data, "_PAUSE_SECONDS", 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small dataset."""
    path = tmp_path / "sums.jsonl"
    path.write_text('{"question": "1+1?", "answer": "2"}\n')
    return path


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A file of three parts."""
    path = tmp_path / "noise.bin"
    path.write_bytes(_NOISE)
    return path


def test_a_file_is_pushed_under_its_name(file: Path) -> None:
    """And how a request names it is told beside the output."""
    fake = GatheringService()
    result = run_budeval(fake, "data", "push", str(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert result.exit_code == 0
    assert result.stdout == f"sums.jsonl is on the claim: {file.stat().st_size} bytes, sha256 {digest}\n"
    assert '"source": {"path": "sums.jsonl"' in result.stderr
    assert {name: fake.body[name] for name in fake.body if name != "data"} == {
        "path": "sums.jsonl",
        "bytes": file.stat().st_size,
        "sha256": digest,
        "offset": 0,
        "replace": False,
    }


def test_the_flags_go_with_each_part(file: Path) -> None:
    """What is left out is the service's business."""
    fake = GatheringService()
    flags = (
        "--name",
        "team/a.jsonl",
        "--cluster",
        "c",
        "--namespace",
        "n",
        "--claim",
        "k",
        "--replace",
        "--json",
    )
    result = run_budeval(fake, "data", "push", str(file), *flags)
    assert json.loads(result.stdout)["state"] == "stored"
    given = {name: fake.body[name] for name in ("path", "cluster", "namespace", "claim", "replace")}
    assert given == {
        "path": "team/a.jsonl",
        "cluster": "c",
        "namespace": "n",
        "claim": "k",
        "replace": True,
    }


def test_a_large_file_goes_in_parts(noise: Path) -> None:
    """Each as large as may be, one after the other, and all of it."""
    fake = GatheringService()
    told: list[int] = []
    done = push_file(fake.client(), measured(noise), "noise", told.append)
    assert done.state is PushState.STORED
    assert [offset for offset, _ in fake.sent] == [0, *told[:-1]]
    assert sum(size for _, size in fake.sent) == told[-1] == len(_NOISE)
    assert len(fake.sent) == 3


def test_what_shrinks_takes_fewer_parts(tmp_path: Path) -> None:
    """Text is a fraction of its size."""
    path = tmp_path / "rows"
    path.write_bytes(b'{"question": "1+1?", "answer": "2"}\n' * 400_000)
    fake = GatheringService()
    push_file(fake.client(), measured(path), "rows")
    assert fake.sent == [(0, path.stat().st_size)]


def test_what_is_there_is_not_sent_again(noise: Path) -> None:
    """The first answer says so, whatever came with the question."""
    fake = GatheringService(len(_NOISE) - 10)
    push_file(fake.client(), measured(noise), "noise")
    assert [offset for offset, _ in fake.sent] == [0, len(_NOISE) - 10]


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("x"),
        refusal(429, "DATA_BUSY", "Others."),
        refusal(502, "CLUSTER_UNREACHABLE", "Away."),
        httpx.Response(502, text="proxy"),
    ],
)
def test_what_passes_is_awaited(file: Path, failure: httpx.Response | BaseException) -> None:
    """A part may be sent again."""
    fake = GatheringService(0, *[failure] * 4)
    assert push_file(fake.client(), measured(file), "a").state is PushState.STORED
    fake = GatheringService(0, *[failure] * 5)
    assert run_budeval(fake, "data", "push", str(file)).exit_code in {2, 3}


def test_a_refusal_is_told_at_once(file: Path) -> None:
    """It would be the same again."""
    fake = GatheringService(0, refusal(409, "DATASET_EXISTS", "Taken.", "path"))
    result = run_budeval(fake, "data", "push", str(file))
    assert (result.exit_code, only_line(result)) == (2, "DATASET_EXISTS: Taken. (field: path)")
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("failure", "exit_code"), [(KeyboardInterrupt(), 130), (refusal(502, "FORBIDDEN", "No."), 3)]
)
def test_how_to_go_on_is_told(
    noise: Path, failure: httpx.Response | BaseException, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interruption, and after a failure in the middle."""
    fake = GatheringService()
    send = GatheringService._answer

    def then_fail(self: GatheringService, request: httpx.Request) -> httpx.Response:
        self.failures = [failure] if len(self.sent) == 1 else []
        return send(self, request)

    monkeypatch.setattr(GatheringService, "_answer", then_fail)
    result = run_budeval(fake, "data", "push", str(noise))
    assert result.exit_code == exit_code
    assert "MiB are on the claim; the same command again goes on from there." in result.stderr


def test_a_push_that_comes_to_no_end_is_given_up(noise: Path) -> None:
    """Somebody removes what came."""

    class Forgetful(GatheringService):
        def _answer(self, request: httpx.Request) -> httpx.Response:
            self.there = 0
            return super()._answer(request)

    with pytest.raises(RequestError, match="comes to no end"):
        push_file(Forgetful().client(), measured(noise), "noise")


@pytest.mark.parametrize(
    ("name", "says"), [("none", "No such file"), ("empty", "is empty"), ("", "directory")]
)
def test_a_file_that_cannot_be_pushed_is_told(tmp_path: Path, name: str, says: str) -> None:
    """Before anything is asked of the service."""
    (tmp_path / "empty").touch()
    fake = FakeService()
    result = run_budeval(fake, "data", "push", str(tmp_path / name))
    assert result.exit_code == 2
    assert says in only_line(result)
    assert fake.requests == []


def test_a_file_that_has_become_shorter_is_told(noise: Path) -> None:
    """Instead of an empty part."""
    with noise.open("rb") as source, pytest.raises(RequestError, match="shorter"):
        packed_part(source, len(_NOISE))


def test_files_are_listed() -> None:
    """As a table, or whole as JSON."""
    file = {"path": "a.jsonl", "bytes": 3, "modified": "2026-01-02T03:04:05Z"}
    files = [{**file, "sha256": "ab" * 32}, {**file, "path": "\x1b[1mb", "sha256": None}]
    found = {"cluster": "c", "namespace": "n", "claim": "k", "files": files, "truncated": True}
    fake = FakeService().put("GET /data", found)
    result = run_budeval(fake, "data", "list", "--cluster", "c", "--namespace", "n", "--claim", "k")
    assert result.exit_code == 0
    first, second, third = (line.split() for line in result.stdout.splitlines())
    assert first == ["path", "bytes", "modified", "sha256"]
    assert second == ["a.jsonl", "3", "2026-01-02", "03:04:05Z", "ab" * 32]
    assert third[0] == "[1mb"
    assert "There are more than these 2." in result.stderr
    assert dict(fake.requests[0].url.params) == {"cluster": "c", "namespace": "n", "claim": "k"}
    assert json.loads(run_budeval(fake, "data", "list", "--json").stdout)["claim"] == "k"


@pytest.mark.parametrize("command", [(), ("push",), ("list",)])
def test_the_commands_explain_themselves(command: tuple[str, ...]) -> None:
    """What they do, and how a request names the file."""
    result = run_budeval(FakeService(), "data", *command, "--help")
    assert result.exit_code == 0
    assert "claim" in result.stdout


def test_the_client_tells_the_services_refusal(file: Path) -> None:
    """With its code."""
    fake = GatheringService(0, refusal(413, "DATASET_TOO_LARGE", "Too large.", "bytes"))
    with pytest.raises(ApiError) as refused:
        push_file(fake.client(), measured(file), "a")
    assert (refused.value.code, refused.value.param) == ("DATASET_TOO_LARGE", "bytes")
