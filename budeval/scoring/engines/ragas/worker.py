"""Runs ragas in its own environment, as a child of the service: `<its python> -I worker.py <version>`.

It has the metrics and nothing else: what they want of a judge or an embedder it asks its parent for, so
it has no key, no address and no need of the network, which is taken from it. Nothing of budeval is
imported here, and nothing else imports this.

Lines of JSON, each an object with the `id` of an order. The parent says, on standard input:

    {"id", "metric", "sample"}      score this; fields of the sample as ragas calls them
    {"id", "reply"}                 what was last asked for
    {"id", "stop"}                  nobody waits any more

and hears, on what was standard output at the start:

    {"id", "ask", "shape"}          a prompt; the reply is an object of that shape
    {"id", "embed"}                 texts; the reply is a list of vectors
    {"id", "value"}                 null where ragas gives no number
    {"id", "error"}                 what ragas raised
"""

import asyncio
import inspect
import json
import math
import os
import queue
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO

_STOP = object()
_NETWORK = {"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"}


class _Stopped(BaseException):
    """Nobody waits for this order any more. Not an error: ragas catches those."""


class _Line:
    """The pipe to the parent, for all orders."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def say(self, message: dict[str, Any]) -> None:
        """Send one line."""
        line = json.dumps(message, allow_nan=False).encode() + b"\n"
        with self._lock:
            self._out.write(line)
            self._out.flush()


class _Talk:
    """About one order: ragas' judge and embedder ask through it, each in the order's own thread."""

    def __init__(self, number: int, line: _Line) -> None:
        self._number = number
        self._line = line
        self._replies: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def say(self, **what: Any) -> None:
        """Tell the parent."""
        self._line.say({"id": self._number, **what})

    def hear(self, reply: Any) -> None:
        """Hand on what the parent says."""
        self._replies.put(reply)

    def ask(self, **what: Any) -> Any:
        """The parent's reply; waits for it."""
        self.say(**what)
        reply = self._replies.get()
        if reply is _STOP:
            raise _Stopped
        return reply


class _Judge:
    """An `InstructorBaseRagasLLM`. Blocks: each order has a thread and an event loop of its own."""

    def __init__(self, talk: _Talk) -> None:
        self._talk = talk

    def generate(self, prompt: str, response_model: Any) -> Any:
        return response_model.model_validate(self._talk.ask(ask=prompt, shape=response_model.__name__))

    async def agenerate(self, prompt: str, response_model: Any) -> Any:
        return self.generate(prompt, response_model)


class _Embedder:
    """A `BaseRagasEmbedding`. Blocks, as the judge does; semantic_similarity calls the blocking methods."""

    def __init__(self, talk: _Talk) -> None:
        self._talk = talk

    def embed_texts(self, texts: list[str], **_: Any) -> Any:
        return self._talk.ask(embed=texts)

    def embed_text(self, text: str, **_: Any) -> Any:
        return self.embed_texts([text])[0]

    async def aembed_text(self, text: str, **_: Any) -> Any:
        return self.embed_text(text)

    async def aembed_texts(self, texts: list[str], **_: Any) -> Any:
        return self.embed_texts(texts)


class _Metrics:
    """ragas' metrics, by the names that the service has for them."""

    def __init__(self) -> None:
        # Here, because standard output and the network must be taken from libraries first.
        from ragas.embeddings.base import BaseRagasEmbedding  # noqa: PLC0415
        from ragas.llms.base import InstructorBaseRagasLLM  # noqa: PLC0415
        from ragas.metrics import collections as new  # noqa: PLC0415

        InstructorBaseRagasLLM.register(_Judge)
        BaseRagasEmbedding.register(_Embedder)
        self._made: dict[str, Callable[[_Judge, _Embedder], Any]] = {
            "faithfulness": lambda judge, _: new.Faithfulness(llm=judge),
            "answer_relevancy": lambda judge, embedder: new.AnswerRelevancy(llm=judge, embeddings=embedder),
            "context_precision": lambda judge, _: new.ContextPrecision(llm=judge),
            "context_utilization": lambda judge, _: new.ContextUtilization(llm=judge),
            "context_recall": lambda judge, _: new.ContextRecall(llm=judge),
            "answer_correctness": lambda judge, embedder: new.AnswerCorrectness(
                llm=judge, embeddings=embedder
            ),
            "semantic_similarity": lambda _, embedder: new.SemanticSimilarity(embeddings=embedder),
            "exact_match": lambda *_: new.ExactMatch(),
            "non_llm_string_similarity": lambda *_: new.NonLLMStringSimilarity(),
            **{name: _old_metric(name) for name in _ONLY_OLD},
        }

    def score(self, name: str, sample: dict[str, Any], talk: _Talk) -> float:
        """What ragas gives, in an event loop that nobody else shares."""
        metric = self._made[name](_Judge(talk), _Embedder(talk))
        given = {field: sample[field] for field in inspect.signature(metric.ascore).parameters}
        return float(asyncio.run(metric.ascore(**given)).value)


_ONLY_OLD = {
    "id_based_context_precision": "IDBasedContextPrecision",
    "id_based_context_recall": "IDBasedContextRecall",
    "non_llm_context_precision_with_reference": "NonLLMContextPrecisionWithReference",
    "non_llm_context_recall": "NonLLMContextRecall",
}
"""Metrics that ragas 0.4.3 has in its older interface alone."""


class _Old:
    """One of them, in the newer interface."""

    def __init__(self, metric: Any, sample_type: Any) -> None:
        self._metric = metric
        self._sample_type = sample_type

    async def ascore(
        self,
        retrieved_contexts: list[str],
        reference_contexts: list[str],
        retrieved_context_ids: list[str],
        reference_context_ids: list[str],
    ) -> Any:
        fields = {name: value for name, value in locals().items() if name != "self"}
        self.value = await self._metric.single_turn_ascore(self._sample_type(**fields))
        return self


def _old_metric(name: str) -> Callable[[_Judge, _Embedder], Any]:
    from ragas import SingleTurnSample  # noqa: PLC0415
    from ragas import metrics as old  # noqa: PLC0415

    kind = getattr(old, _ONLY_OLD[name])
    return lambda *_: _Old(kind(), SingleTurnSample)


class _Worker:
    """Reads orders, and scores each in a thread of its own."""

    def __init__(self, line: _Line, metrics: _Metrics) -> None:
        self._line = line
        self._metrics = metrics
        self._talks: dict[int, _Talk] = {}

    def take(self, message: dict[str, Any]) -> None:
        """Do what one line says; what it says of an order that is over is of no use any more."""
        number = message["id"]
        if "metric" in message:
            talk = self._talks[number] = _Talk(number, self._line)
            order = (number, message["metric"], message["sample"], talk)
            threading.Thread(target=self._score, args=order, daemon=True).start()
        elif number in self._talks:
            self._talks[number].hear(_STOP if "stop" in message else message["reply"])

    def _score(self, number: int, name: str, sample: dict[str, Any], talk: _Talk) -> None:
        try:
            value = self._metrics.score(name, sample, talk)
            talk.say(value=value if math.isfinite(value) else None)
        except _Stopped:
            pass
        except Exception as error:  # noqa: BLE001 - whatever ragas raises is the parent's to name
            talk.say(error=f"{type(error).__name__}: {error}")
        finally:
            self._talks.pop(number, None)


def _own_pipes() -> tuple[BinaryIO, _Line]:
    """The pipes to the parent; what libraries print goes to standard error from now on."""
    orders, line = os.fdopen(os.dup(0), "rb"), _Line(os.fdopen(os.dup(1), "wb"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return orders, line


def _forbid_network(event: str, _: object) -> None:
    if event in _NETWORK:
        raise PermissionError(f"{event}: this process asks its parent for everything")


def _check_version(wanted: str) -> None:
    import ragas  # noqa: PLC0415 - see `_Metrics`

    if ragas.__version__ != wanted:
        sys.exit(f"ragas {ragas.__version__} is installed there, {wanted} is needed")


def main() -> None:
    """Serve until the parent closes the pipe, or is gone."""
    orders, line = _own_pipes()
    sys.addaudithook(_forbid_network)
    warnings.simplefilter("ignore")  # about ragas' older interface
    _check_version(sys.argv[1])
    worker = _Worker(line, _Metrics())
    for order in orders:
        worker.take(json.loads(order))
    os._exit(0)  # without waiting for threads: nobody waits for them


if __name__ == "__main__":
    main()
