"""Engine `ragas`: the metrics of ragas 0.4.3, asked for by our own clients.

ragas computes in a process of its own and asks here for judgements and embeddings. So one limiter holds
for all that ask an endpoint, each paid answer is in the ledger, retries stay the workflow's, and no key
leaves this process.
"""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from budeval.domain.scoring import MetricOutcome, Sample, Usage
from budeval.scoring.engines.base import Order
from budeval.scoring.engines.clients import Switchboard
from budeval.scoring.engines.ragas.process import Asks, Embeds, Found, RagasProcess, Talk
from budeval.scoring.engines.ragas.shapes import SHAPES, RagasAnswer, evidence_of
from budeval.scoring.failures import EngineFailedError, EngineGoneError
from budeval.scoring.ledger import Ledger
from budeval.scoring.limiter import Limiter, Limiters
from budeval.scoring.metrics import METRICS
from budeval.scoring.metrics.metric import NoValue, Panel, Value
from budeval.scoring.replies import well_formed
from budeval.scoring.score import score_by

VERSION = "0.4.3"
"""Of ragas, as requirements/ragas.in pins it; another one is refused."""

_CALLS = {"faithfulness": 2, "answer_relevancy": 3, "context_recall": 1, "answer_correctness": 3}
_A_CALL_FOR_EACH_CONTEXT = {"context_precision", "context_utilization"}
"""How often that version asks its judge. All other metrics do not."""
_ORDERS_AT_ONCE = 32
_WORKER = Path(__file__).with_name("worker.py")


class RagasEngine:
    """Engine `ragas`; one for the process."""

    def __init__(self, limiters: Limiters, python: Path) -> None:
        """`python` has ragas; it is started when the first metric is asked for."""
        self._switchboard = Switchboard(limiters)
        # Isolated (-I): nothing beside the program, of the user or of the environment can stand in for ragas.
        self._process = RagasProcess([str(python.absolute()), "-I", str(_WORKER), VERSION])
        self._room = Limiter(_ORDERS_AT_ONCE)
        self._metrics = {
            name: replace(metric, measure=partial(self._measure, name)) for name, metric in METRICS.items()
        }

    @property
    def version(self) -> str:
        """See `ScoringEngine`."""
        return f"ragas {VERSION}"

    @property
    def metrics(self) -> dict[str, str]:
        """See `ScoringEngine`. What each needs of a sample is the same as natively."""
        return dict.fromkeys(self._metrics, VERSION)

    def judge_calls(self, metric: str, contexts: int) -> int:
        """See `ScoringEngine`."""
        return contexts if metric in _A_CALL_FOR_EACH_CONTEXT else _CALLS.get(metric, 0)

    def close(self) -> None:
        """See `ScoringEngine`. Orders that still come are refused."""
        self._process.close()

    async def score(self, order: Order, ledger: Ledger) -> MetricOutcome:
        """See `ScoringEngine`."""
        metric = self._metrics[order.metric]
        try:
            async with self._room.slot(), self._switchboard.connected(order, metric) as clients:
                return await score_by(metric, order.sample, clients.judge, clients.embedder, ledger)
        except EngineGoneError:
            if not self._process.closed:
                await ledger.lose(Usage())  # it counts as a failure: a sample may be what ends the process
            raise

    async def _measure(self, name: str, sample: Sample, panel: Panel) -> Value | NoValue:
        async with self._process.talk(name, _as_ragas_calls_it(sample)) as talk:
            return await _answered(talk, panel)


async def _answered(talk: Talk, panel: Panel) -> Value | NoValue:
    """Answer whatever ragas asks for, until it has a value."""
    answers: list[RagasAnswer] = []
    turns: Counter[str] = Counter()
    while True:
        said = await talk.hear()
        if isinstance(said, Asks):
            turns[said.ask] += 1  # answer_relevancy puts the same question three times
            answer = await panel.ask(said.ask, SHAPES[said.shape], turns[said.ask])
            if answer.states_nothing:
                return NoValue("no_statements", "the judge finds no statement in a text")
            answers.append(answer)
            talk.say(reply=answer.model_dump(mode="json"))
        elif isinstance(said, Embeds):
            talk.say(reply=await panel.embed(*said.embed))
        elif isinstance(said, Found):
            if said.value is None:
                raise EngineFailedError("ragas gives no number", "not_a_number")
            return Value(said.value, evidence_of(answers))
        else:
            raise EngineFailedError(f"ragas failed: {well_formed(said.error)}", "engine_error")


def _as_ragas_calls_it(sample: Sample) -> dict[str, object]:
    return {
        "user_input": sample.question,
        "response": sample.answer,
        "reference": sample.ground_truth,
        "retrieved_contexts": sample.contexts,
        "reference_contexts": sample.reference_contexts,
        "retrieved_context_ids": sample.context_ids,
        "reference_context_ids": sample.reference_context_ids,
    }
