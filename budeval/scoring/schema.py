"""What callers send to be scored: validated strictly, and wrong input named by its field."""

import difflib
import math
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from budeval.domain.score_job import Engine
from budeval.domain.scoring import Sample
from budeval.scoring.contexts import parse_contexts
from budeval.scoring.metrics import METRICS
from budeval.scoring.requirements import is_blank, without_blanks

MAX_TEXT = 64 * 1024
"""Characters of one text."""
MAX_SAMPLE = 512 * 1024
"""Characters of all texts of a sample."""
MAX_CONTEXTS = 64
LEAST_SECONDS, MAX_SECONDS = 300, 86_400
"""For the scoring of a job whose request leaves the time out; a request may name less."""
_ALLOWED_CONTROLS = "\n\r\t"


def _printable(text: str) -> str:
    """Controls end up in terminals, tables and prompts, where they do what nobody sees."""
    for letter in text:
        if unicodedata.category(letter) in {"Cc", "Cs"} and letter not in _ALLOWED_CONTROLS:
            raise ValueError(f"must not hold the control character U+{ord(letter):04X}")
    return text


def _not_blank(text: str) -> str:
    if is_blank(text):
        raise ValueError("must not be blank")
    return text


def _listed(value: Any) -> Any:
    return parse_contexts(value) if isinstance(value, str) and len(value) <= MAX_SAMPLE else _there(value)


def _there(value: Any) -> Any:
    """Tables export what a row lacks as null."""
    return [] if value is None else value


Text = Annotated[str, StringConstraints(max_length=MAX_TEXT), AfterValidator(_printable)]
Texts = Annotated[list[Text], Field(max_length=MAX_CONTEXTS)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_printable)]
Ids = Annotated[list[Id], Field(max_length=MAX_CONTEXTS)]
TextsInAnyForm = Texts | Annotated[str, StringConstraints(max_length=MAX_SAMPLE)] | None
TextsOrNull = Annotated[Texts, BeforeValidator(_there, json_schema_input_type=Texts | None)]
IdsOrNull = Annotated[Ids, BeforeValidator(_there, json_schema_input_type=Ids | None)]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")]
LabelText = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
Alias = Annotated[str, StringConstraints(min_length=1, max_length=63)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SampleFields(_Request):
    """One RAG sample. What is left out, or blank, makes the metrics that need it be skipped."""

    question: Annotated[Text, AfterValidator(_not_blank)]
    answer: Text | None = None
    contexts: Annotated[Texts, BeforeValidator(_listed, json_schema_input_type=TextsInAnyForm)] = Field(
        default_factory=list,
        description="What was retrieved, in that order. One text may hold several: as a JSON or Python list, "
        "or with blank lines between.",
    )
    ground_truth: Text | None = Field(None, description="What should have been answered.")
    reference_contexts: TextsOrNull = Field(
        default_factory=list, description="What should have been retrieved."
    )
    context_ids: IdsOrNull = Field(default_factory=list)
    reference_context_ids: IdsOrNull = Field(default_factory=list)

    @property
    def chars(self) -> int:
        """Of all texts together."""
        return sum(map(len, [self.question, self.answer or "", self.ground_truth or "", *self._entries]))

    @property
    def sample(self) -> Sample:
        """Without the blank entries of its lists."""
        fields = {name: getattr(self, name) for name in Sample.model_fields}
        return without_blanks(
            Sample(**{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()})
        )

    @property
    def blanks(self) -> int:
        """How many entries of its lists `sample` is without."""
        return sum(map(is_blank, self._entries))

    @property
    def _entries(self) -> list[str]:
        """Of all its lists."""
        return [*self.contexts, *self.reference_contexts, *self.context_ids, *self.reference_context_ids]


class ScoringOptions(_Request):
    """What to score, by whom, and what to do with it."""

    metrics: Annotated[list[str], Field(min_length=1, max_length=len(METRICS))] = Field(
        description="`GET /score-metrics` lists them."
    )
    engine: Engine = Field(Engine.NATIVE, description="Who computes them; `ragas` where it is installed.")
    judge_model: Alias | None = Field(
        None, description="Alias of a judge in the settings; the first one if left out."
    )
    embedding_model: Alias | None = Field(
        None, description="Alias of an embedder in the settings; the first one if left out."
    )
    weights: dict[str, float] = Field(
        default_factory=dict, description="Of metrics in the weighted score; none means equal ones."
    )
    repeats: int = Field(
        1, ge=1, le=10, description="How often each judged metric is scored; the mean counts."
    )
    timeout_s: int | None = Field(
        None,
        ge=1,
        le=MAX_SECONDS,
        description="Seconds for all scoring. If left out, what all requests take if each takes its "
        "endpoint's whole time limit, `concurrency` at once, and each metric of each sample a second beside; "
        f"{LEAST_SECONDS} at least, {MAX_SECONDS} at most.",
    )
    advise: bool = Field(default=True, description="Write optimization_advice.md.")
    store_inputs: bool = Field(
        default=True, description="Keep the texts after the end; otherwise only digests of them."
    )
    allow_empty: bool = Field(
        default=False, description="Complete, with no score, where every metric must be skipped."
    )
    labels: Annotated[dict[LabelKey, LabelText], Field(max_length=20)] = Field(default_factory=dict)

    @field_validator("metrics")
    @classmethod
    def _known_once(cls, metrics: list[str]) -> list[str]:
        for at, name in enumerate(metrics):
            if name not in METRICS:
                raise ValueError(f"there is no metric {name[:64]!r}{_nearest(name, METRICS)}")
            if name in metrics[:at]:
                raise ValueError(f"{name} is there twice")
        return metrics

    @field_validator("weights")
    @classmethod
    def _of_what_is_scored(cls, weights: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        for name, weight in weights.items():
            if name not in info.data.get("metrics", ()):
                raise ValueError(f"{name[:64]!r} is not among the metrics")
            if not math.isfinite(weight) or weight < 0:
                raise ValueError(f"the weight of {name} must be a number from 0 on")
        if weights and not any(weights.values()):
            raise ValueError("at least one weight must be above 0")
        return weights


class ScoreRequest(SampleFields, ScoringOptions):
    """One sample to be scored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "question": "When did people first walk on the Moon?",
                    "answer": "In 1969, with Apollo 11.",
                    "contexts": ["Apollo 11 landed on the Moon on 20 July 1969."],
                    "ground_truth": "On 20 July 1969.",
                    "metrics": ["faithfulness", "answer_relevancy", "context_recall"],
                }
            ]
        }
    )


class BatchRequest(ScoringOptions):
    """Many samples to be scored as one run."""

    jsonl: str = Field(
        min_length=1,
        description="A sample on each line, as an object with the fields of one and, if wanted, an `id`. "
        "Lines that are no sample are told in invalid.csv.",
    )


class SampleLine(SampleFields):
    """A line of many."""

    id: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")] | None = None


def _nearest(name: str, known: Iterable[str]) -> str:
    """A hint for who has mistyped a name."""
    near = difflib.get_close_matches(name[:64], known, 1)
    return f"; did you mean {near[0]}?" if near else ""
