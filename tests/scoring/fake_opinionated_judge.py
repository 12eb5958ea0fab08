"""A fake judge with opinions that are known beforehand: it says the same to all, in the words of who asks.

The engines ask in different ways, some for several judgements at once. Each prompt is recognised, and
answered from the plan of the sample that it is about.
"""

import base64
import hashlib
import json
import re
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from budeval.domain.scoring import Sample
from tests.scoring.fake_judge import FakeJudge, Reply, refusal

_DIMENSIONS = 384
_RAGAS_INPUT = re.compile(r"\ninput: (\{.*\})\nOutput: ", re.DOTALL)


@dataclass(frozen=True)
class Statement:
    """One of a text of a sample, and what the judge thinks of it."""

    text: str
    grounded: bool = True
    """Whether it follows from the contexts."""
    confirmed: bool = True
    """Whether the other text has it: the ground truth of the answer's, the answer of the ground truth's."""


@dataclass(frozen=True)
class Plan:
    """A sample, and what the judge thinks of it. Texts must differ from those of other plans."""

    sample: Sample
    answer: tuple[Statement, ...] = ()
    truth: tuple[Statement, ...] = ()
    useful: tuple[bool, ...] = ()
    """Of each context."""
    questions: tuple[str, str, str] = ("", "", "")
    """That the answer would answer."""
    noncommittal: bool = False
    vectors: Mapping[str, list[float]] = field(default_factory=dict)
    """Of texts; others have one that is drawn from their letters."""


Answerer = Callable[["FakeOpinionatedJudge", Any], Any]


class FakeOpinionatedJudge(FakeJudge):
    """Answers by plans; a fake server as its base class, with the same records of what it was asked."""

    def __init__(self, plans: Iterable[Plan], judges_in: float = 0.0, embeds_in: float = 0.0) -> None:
        """The times are seconds until a reply."""
        super().__init__()
        self._plans = tuple(plans)
        self._by_question = {plan.sample.question: plan for plan in self._plans}
        self._by_answer = {plan.sample.answer: plan for plan in self._plans}
        self._statements = {item.text: item for plan in self._plans for item in (*plan.answer, *plan.truth)}
        self.vectors = {text: vector for plan in self._plans for text, vector in plan.vectors.items()}
        self._judges_in, self._embeds_in = judges_in, embeds_in
        self._asked_back: Counter[str] = Counter()
        self._counting = threading.Lock()

    def reply_to(self, request: dict[str, Any]) -> Reply:
        """See `FakeJudge`."""
        super().reply_to(request)  # it records, and has nothing to say: no reply was scripted
        body = request["body"]
        if request["path"].endswith("/embeddings"):
            time.sleep(self._embeds_in)
            return self._embedded(body)
        time.sleep(self._judges_in)
        prompt = body["messages"][-1]["content"]
        for beginning, answerer in ANSWERERS.items():
            if prompt.startswith(beginning):
                return _completion(answerer(self, _data(prompt)), body)
        return refusal(418, f"nobody knows how to answer this: {prompt[:200]}")

    def plan_of(self, question: str) -> Plan:
        """The plan with that question."""
        return self._by_question[question]

    def plan_of_answer(self, answer: str) -> Plan:
        """The plan with that answer."""
        return self._by_answer[answer]

    def opinion(self, statement: str) -> Statement:
        """What the judge thinks of a statement."""
        return self._statements[statement]

    def next_question(self, answer: str) -> str:
        """Another one each time that an answer is asked about."""
        questions = self.plan_of_answer(answer).questions
        with self._counting:
            turn = self._asked_back[answer]
            self._asked_back[answer] += 1
        return questions[turn % len(questions)]

    def _embedded(self, body: dict[str, Any]) -> Reply:
        given = body["input"]
        texts = [given] if isinstance(given, str) else given
        vectors = [self.vectors.get(text) or _drawn(text) for text in texts]
        as_text = body.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": at, "embedding": _base64(vector) if as_text else vector}
            for at, vector in enumerate(vectors)
        ]
        tokens = sum(len(text) for text in texts) // 4
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        document = {"object": "list", "model": body["model"], "data": data, "usage": usage}
        return Reply(body=json.dumps(document).encode(), headers={"Content-Type": "application/json"})


def _completion(answer: Any, body: dict[str, Any]) -> Reply:
    content = json.dumps(answer)
    message = {"role": "assistant", "content": content}
    prompt, completion = len(json.dumps(body)) // 4, len(content) // 4
    document = {
        "id": "scripted",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
    }
    return Reply(body=json.dumps(document).encode(), headers={"Content-Type": "application/json"})


def _data(prompt: str) -> Any:
    """What the prompt gives to judge."""
    asked_by_ragas = _RAGAS_INPUT.search(prompt)
    return json.loads(asked_by_ragas[1] if asked_by_ragas else prompt.splitlines()[2])


def _drawn(text: str) -> list[float]:
    """The same for the same text, and all numbers positive, so that no similarity is negative."""
    digest = hashlib.shake_256(text.encode()).digest(_DIMENSIONS)
    return [(byte + 1) / 256 for byte in digest]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _numbered(verdicts: Iterable[bool]) -> dict[str, Any]:
    return {"verdicts": [{"number": at, "verdict": verdict} for at, verdict in enumerate(verdicts, 1)]}


def _texts(statements: Iterable[Statement]) -> list[str]:
    return [statement.text for statement in statements]


def _native_split(judge: FakeOpinionatedJudge, data: Any) -> Any:
    return {"statements": _texts(judge.plan_of(data["question"]).answer)}


def _native_infer(judge: FakeOpinionatedJudge, data: Any) -> Any:
    return _numbered(judge.opinion(text).grounded for text in data["statements"].values())


def _native_attribute(judge: FakeOpinionatedJudge, data: Any) -> Any:
    truth = judge.plan_of(data["question"]).truth
    return {"statements": [{"statement": item.text, "attributed": item.grounded} for item in truth]}


def _native_useful(judge: FakeOpinionatedJudge, data: Any) -> Any:
    plan = judge.plan_of(data["question"])
    return _numbered(_useful(plan, context) for context in data["contexts"].values())


def _native_ask_back(judge: FakeOpinionatedJudge, data: Any) -> Any:
    plan = judge.plan_of_answer(data["text"])
    return {"questions": plan.questions, "noncommittal": plan.noncommittal}


def _native_split_both(judge: FakeOpinionatedJudge, data: Any) -> Any:
    plan = judge.plan_of(data["question"])
    return {"answer": _texts(plan.answer), "ground_truth": _texts(plan.truth)}


def _native_compare(judge: FakeOpinionatedJudge, data: Any) -> Any:
    texts = (*data["answer"].values(), *data["ground_truth"].values())
    return _numbered(judge.opinion(text).confirmed for text in texts)


def _ragas_split(judge: FakeOpinionatedJudge, data: Any) -> Any:
    plan = judge.plan_of(data["question"])
    return {"statements": _texts(plan.answer if data["answer"] == plan.sample.answer else plan.truth)}


def _ragas_infer(judge: FakeOpinionatedJudge, data: Any) -> Any:
    opinions = [judge.opinion(text) for text in data["statements"]]
    return {"statements": [{**_reasoned(item), "verdict": int(item.grounded)} for item in opinions]}


def _ragas_attribute(judge: FakeOpinionatedJudge, data: Any) -> Any:
    truth = judge.plan_of(data["question"]).truth
    return {"classifications": [{**_reasoned(item), "attributed": int(item.grounded)} for item in truth]}


def _ragas_useful(judge: FakeOpinionatedJudge, data: Any) -> Any:
    return {"reason": "so", "verdict": int(_useful(judge.plan_of(data["question"]), data["context"]))}


def _ragas_ask_back(judge: FakeOpinionatedJudge, data: Any) -> Any:
    answer = data["response"]
    flag = int(judge.plan_of_answer(answer).noncommittal)
    return {"question": judge.next_question(answer), "noncommittal": flag}


def _ragas_compare(judge: FakeOpinionatedJudge, data: Any) -> Any:
    answer = [judge.opinion(text) for text in data["answer"]]
    truth = [judge.opinion(text) for text in data["ground_truth"]]
    return {
        "TP": [_reasoned(item) for item in answer if item.confirmed],
        "FP": [_reasoned(item) for item in answer if not item.confirmed],
        "FN": [_reasoned(item) for item in truth if not item.confirmed],
    }


def _useful(plan: Plan, context: str) -> bool:
    return plan.useful[plan.sample.contexts.index(context)]


def _reasoned(item: Statement) -> dict[str, Any]:
    return {"statement": item.text, "reason": "so"}


ANSWERERS: dict[str, Answerer] = {
    "Split the answer into statements": _native_split,
    "Judge each numbered statement: can it be inferred": _native_infer,
    "Split the ground truth into its sentences": _native_attribute,
    "The numbered contexts were retrieved": _native_useful,
    "Write 3 questions": _native_ask_back,
    "Split the answer and the ground truth": _native_split_both,
    "Judge each numbered statement; the numbers run through": _native_compare,
    "Given a question and an answer, analyze the complexity": _ragas_split,
    "Your task is to judge the faithfulness": _ragas_infer,
    "Given a context and an answer, analyze each statement": _ragas_attribute,
    "Given question, answer and context verify": _ragas_useful,
    "Generate a question for the given answer": _ragas_ask_back,
    "Given a ground truth and an answer statements": _ragas_compare,
}
"""By how prompts begin."""
