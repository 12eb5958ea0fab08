"""What a judge is asked beside the prompt."""

import json

import pytest
from pydantic import BaseModel

from budeval.scoring.engines.ragas.shapes import SHAPES
from budeval.scoring.failures import JudgeError
from budeval.scoring.metrics.correctness import BothStatements
from budeval.scoring.metrics.grounding import Attributions
from budeval.scoring.metrics.similarity import Questions
from budeval.scoring.metrics.statements import Statements
from budeval.scoring.metrics.verdicts import verdicts_of
from tests.scoring.asking import asked
from tests.scoring.fake_judge import FakeJudge, says

_SHAPES = [Attributions, BothStatements, Questions, Statements, verdicts_of(2), *SHAPES.values()]


@pytest.mark.parametrize("shape", _SHAPES, ids=lambda shape: shape.__name__)
def test_a_schema_says_nothing_that_only_people_read(fake: FakeJudge, shape: type[BaseModel]) -> None:
    """Some endpoints bill it, and the prompt says what is meant; what is required and forbidden stays."""
    fake.will_say(*[says("no answer")] * 2)
    with pytest.raises(JudgeError):
        asked(fake, shape)

    schema = fake.requests[0]["body"]["response_format"]["json_schema"]["schema"]

    assert "title" not in json.dumps(schema)
    assert "description" not in json.dumps(schema)
    assert set(schema["required"]) == set(shape.model_fields) == set(schema["properties"])
    assert schema["additionalProperties"] is False
