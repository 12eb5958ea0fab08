"""The process that ragas runs in: started when it is first needed, and again when it has ended.

Activities may run in several event loops, so the process belongs to none: threads read and write its
pipes, and each talk has a queue in the loop that holds it. The process gets no environment but what it
needs: keys of ours are not its business.
"""

import asyncio
import contextlib
import json
import os
import queue
import subprocess
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import count
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, TypeAdapter, ValidationError

from budeval.scoring.failures import EngineGoneError

PATIENCE = 120.0
"""Seconds for its next word. The first takes longest: importing ragas is 3 s, and 20 s on a busy machine."""

_LONGEST = 32 * 1024 * 1024
"""Bytes of a line: the largest sample, escaped, several times in one prompt."""
_LAST_WORDS = 5
_EXCERPT = 300
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")
_OWN_ENVIRONMENT = {
    "RAGAS_DO_NOT_TRACK": "true",
    # Where it would write an id for that, all the same.
    "XDG_DATA_HOME": os.devnull,
    # The metrics need no more, and each thread of these takes memory.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int


class Asks(_Said):
    """It wants a judgement."""

    ask: str
    shape: str


class Embeds(_Said):
    """It wants embeddings."""

    embed: list[str]


class Found(_Said):
    """The value; None where it is no number."""

    value: FiniteFloat | None


class Raised(_Said):
    """ragas gave up."""

    error: str


Said = Asks | Embeds | Found | Raised
_SAID: TypeAdapter[Said] = TypeAdapter(Said)


class Talk:
    """About one order, in the event loop that it was opened in."""

    def __init__(self, number: int, worker: "_Worker") -> None:
        self._number = number
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Queue[Said | None] = asyncio.Queue()

    def say(self, **what: Any) -> None:
        """Send something; never waits."""
        self._worker.send({"id": self._number, **what})

    def deliver(self, said: Said | None) -> None:
        """From any thread; None once the process has ended."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._heard.put_nowait, said)

    async def hear(self) -> Said:
        """What it says next.

        Raises:
            EngineGoneError: it has ended, or is ended now because it says nothing.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                said = await self._heard.get()
        except TimeoutError:
            self._worker.kill(f"it said nothing for {PATIENCE:g} s")
            said = None
        if said is None:
            raise EngineGoneError(f"the process of ragas has ended: {self._worker.why}")
        return said


class RagasProcess:
    """One at a time, for all orders."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._numbers = count(1)
        self.closed = False
        """Whether it was ended for good."""

    @contextlib.asynccontextmanager
    async def talk(self, metric: str, sample: dict[str, Any]) -> AsyncIterator[Talk]:
        """A talk that begins with an order; whoever leaves it early has it stopped.

        Raises:
            EngineGoneError: the process cannot be started.
        """
        worker = self._running()
        number = next(self._numbers)
        talk = Talk(number, worker)
        worker.add(number, talk)
        try:
            talk.say(metric=metric, sample=sample)
            yield talk
        finally:
            talk.say(stop=True)
            worker.remove(number)

    def close(self) -> None:
        """End the process for good."""
        with self._lock:
            self.closed = True
            if self._worker:
                self._worker.kill("the service stops")
                self._worker.wait()

    def _running(self) -> "_Worker":
        with self._lock:
            if self.closed:
                raise EngineGoneError("the process of ragas has ended: the service stops")
            if self._worker is None or self._worker.why:
                try:
                    self._worker = _Worker(self._command)
                except OSError as error:
                    raise EngineGoneError(f"the process of ragas cannot be started: {error}") from error
            return self._worker


class _Worker:
    """One process from its start to its end."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            cwd="/",
            start_new_session=True,  # it ends with its pipe, not by signals that are meant for the service
        )
        self.why = ""
        """Why it has ended; empty while it runs."""
        self._lock = threading.Lock()
        self._talks: dict[int, Talk] = {}
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._listener = _thread(self._listen, self._process.stderr)
        self._writer = _thread(self._write, self._process.stdin)
        self._reader = _thread(self._read, self._process.stdout)

    def add(self, number: int, talk: Talk) -> None:
        """Deliver what concerns it from now on."""
        with self._lock:
            self._talks[number] = talk
            if self.why:
                talk.deliver(None)

    def remove(self, number: int) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._talks.pop(number, None)

    def send(self, message: dict[str, Any]) -> None:
        """One line; what comes after its end goes nowhere."""
        self._outgoing.put(json.dumps(message).encode() + b"\n")

    def kill(self, why: str) -> None:
        """End it; whoever talks with it hears so."""
        self._mark(why)
        self._process.kill()

    def wait(self) -> None:
        """Until it and its threads have ended."""
        self._reader.join()

    def _write(self, pipe: IO[bytes]) -> None:
        with contextlib.suppress(OSError):  # it has ended, which the reader sees
            while line := self._outgoing.get():
                pipe.write(line)
                pipe.flush()
        with contextlib.suppress(OSError):
            pipe.close()

    def _read(self, pipe: IO[bytes]) -> None:
        try:
            while (line := pipe.readline(_LONGEST)).endswith(b"\n"):
                said = _SAID.validate_json(line)
                with self._lock:
                    talk = self._talks.get(said.id)
                if talk:
                    talk.deliver(said)
        except ValidationError as error:
            self._mark(f"it said what nobody understands: {error.errors(include_url=False)[0]['msg']}")
        self._bury(pipe)

    def _bury(self, pipe: IO[bytes]) -> None:
        self._process.kill()
        status = self._process.wait()
        self._outgoing.put(None)
        self._writer.join()
        self._listener.join()
        pipe.close()
        self._mark(f"status {status}: {' '.join(self._last_words)[-_EXCERPT:]}")
        with self._lock:
            for talk in self._talks.values():
                talk.deliver(None)

    def _listen(self, pipe: IO[bytes]) -> None:
        """Its errors must be read, or it would wait; the last of them tell why it ended."""
        with pipe:
            while line := pipe.readline(_LONGEST):
                self._last_words.append(" ".join(line.decode(errors="replace").split()))

    def _mark(self, why: str) -> None:
        with self._lock:
            self.why = self.why or why


def _environment() -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed_on, **_OWN_ENVIRONMENT}


def _thread(work: Callable[[IO[bytes]], None], pipe: IO[bytes] | None) -> threading.Thread:
    thread = threading.Thread(target=work, args=(pipe,), name="ragas", daemon=True)
    thread.start()
    return thread
