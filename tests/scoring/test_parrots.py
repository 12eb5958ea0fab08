"""A judge that only repeats the example in its prompt gives no score, whatever it is asked."""

from collections.abc import Iterator

import pytest

from budeval.domain.scoring import MetricStatus
from budeval.scoring.metrics import METRICS
from tests.scoring.asking import FULL, scored_by
from tests.scoring.fake_judge import Reply, says, served
from tests.scoring.fake_parrot import FakeParrot, shape_in

_TASKS = [(metric.name, at) for metric in METRICS.values() for at in range(len(metric.tasks))]
_ANSWERED: dict[str, list[Reply]] = {
    "faithfulness": [says({"statements": ["It was in 1969."]})],
    "answer_correctness": [says({"answer": ["It was in 1969."], "ground_truth": ["It was in July."]})],
}
"""Good answers to the questions before the one that is parroted."""


@pytest.fixture
def parrot() -> Iterator[FakeParrot]:
    """As a server."""
    fake = FakeParrot()
    with served(fake):
        yield fake


@pytest.mark.parametrize(("metric", "at"), _TASKS)
def test_a_copied_example_is_no_answer(parrot: FakeParrot, metric: str, at: int) -> None:
    """To any question of any metric, also where the numbers of the example would fit: one item to judge."""
    parrot.will_say(*_ANSWERED.get(metric, [])[:at])

    outcome = scored_by(parrot, metric, FULL.model_copy(update={"contexts": ("It was in 1969.",)}))

    assert (outcome.status, outcome.reason_code) == (MetricStatus.FAILED, "judge_output_invalid")
    assert outcome.usage.calls == at + 2
    assert shape_in(parrot.prompts()[-1]) in METRICS[metric].tasks[at].text
