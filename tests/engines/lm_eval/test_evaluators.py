"""How replies are compared with reference answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budeval.domain.evaluation import Evaluator
from budeval.engines.lm_eval import evaluators
from budeval.engines.opencompass.extract_results import without_reasoning


@pytest.mark.parametrize(
    ("evaluator", "reply", "answer", "right"),
    [
        ("exact", " Paris\n", "Paris", 1.0),
        ("exact", "Paris.", "Paris", 0.0),
        ("exact", "<think>Rome?</think>\nParis", "Paris", 1.0),
        ("contains", "It is PARIS, of course", "Paris", 1.0),
        ("contains", "<think>Paris</think>Rome", "Paris", 0.0),
        ("last_number", "2 + 3 = 5, or 6", "6", 1.0),
        ("last_number", "It costs 1,234.50 in all.", "1234.5", 1.0),
        ("last_number", "minus -7", "-7", 1.0),
        ("last_number", "7\n\nQuestion: and 8?", "7", 1.0),
        ("last_number", "none", "7", 0.0),
        ("last_number", "7", "seven", 0.0),
        ("choice", "B", "B", 1.0),
        ("choice", "The answer is (C), not D", "C", 1.0),
        ("last_number", "12345678901", "12345678902", 0.0),
        ("last_number", "123456789012345678901", "123456789012345678902", 0.0),
        ("last_number", "pages 3-5", "5", 1.0),
        ("last_number", "10-5", "5", 1.0),
        ("last_number", "(-5)", "-5", 1.0),
        ("last_number", "x = -.5", "-0.5", 1.0),
        ("last_number", "it is .5", "0.5", 1.0),
        ("last_number", "\u22125", "-5", 1.0),
        ("last_number", "\u22125", "5", 0.0),
        ("last_number", "Question: q? 42", "42", 1.0),
        ("last_number", "1,2,3", "3", 1.0),
        ("last_number", "12,345,678", "12345678", 1.0),
        ("exact", "Paris <think>sure?</think>", "Paris", 1.0),
        ("exact", "<think>a</think>Par<think>b</think>is", "Paris", 1.0),
        ("exact", "reasoning</think> Paris", "Paris", 1.0),
        ("exact", "<think>never ends", "", 0.0),
        ("last_number", "0.33333333", "0.333333333", 1.0),
        ("last_number", "10", "1e999999", 0.0),
        ("choice", "I think the answer is B", "B", 1.0),
        ("choice", "I'd say C.", "C", 1.0),
        ("choice", "I\u2019m sure: D", "D", 1.0),
        ("choice", "A good question. (D)", "D", 1.0),
        ("choice", "A is right", "A", 1.0),
        ("choice", "I", "I", 1.0),
        ("choice", "I. Rome", "I", 1.0),
        ("choice", "A) Paris", "A", 1.0),
        ("choice", "**B**", "B", 1.0),
        ("choice", "Not A. Not C either. Answer: **D**.", "D", 1.0),
        ("choice", "The answer is not A. So the correct answer is option B", "B", 1.0),
        ("choice", "$\\boxed{E}$", "E", 1.0),
        ("choice", "Answer: I think C", "C", 1.0),
        ("choice", "Answer: I believe it's C.", "C", 1.0),
        ("choice", "Answer: A quick check shows C fits.", "C", 1.0),
        ("choice", "The answer is C. Is the answer: I don't know?", "C", 1.0),
        ("choice", "A is wrong. The answer is $C$.", "C", 1.0),
        ("choice", "A is wrong. The answer is \u201cC\u201d", "C", 1.0),
        ("choice", "A is wrong. The answer is <b>C</b>", "C", 1.0),
        ("choice", "A is wrong. $\\boxed{\\text{C}}$", "C", 1.0),
        ("choice", "The correct answer is A but B is close.", "A", 1.0),
        ("choice", "Answer: A for the following reasons: B is wrong", "A", 1.0),
        ("choice", "Answer: A\nthe reason is that B", "A", 1.0),
        ("choice", "The answer is A which is Paris.", "A", 1.0),
        ("choice", "The answer is Canberra", "C", 0.0),
        ("choice", "B is right, option A is wrong", "B", 1.0),
        ("last_number", "10", "1e9999999999", 0.0),
        ("choice", "Because", "B", 0.0),
        ("choice", "", "A", 0.0),
    ],
)
def test_a_reply_is_right_or_wrong(evaluator: str, reply: str, answer: str, right: float) -> None:
    """Of the text after the reasoning."""
    judge = getattr(evaluators, evaluator)

    assert judge({"budeval_answer": answer}, [reply]) == {"accuracy": right}


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "\n"]), max_size=12).map("".join))
def test_reasoning_is_what_the_extractor_takes_for_it(reply: str) -> None:
    """Two files of which each must stand alone have the rule; it is one."""
    assert evaluators.said([reply]) == without_reasoning(reply)


@pytest.mark.parametrize(
    "reply",
    ["<think>" * 400_000, "The answer is" + "\n" * 400_000, "\n" * 400_000, "A " * 400_000, "1," * 400_000],
    ids=["thoughts", "answer", "newlines", "letters", "digits"],
)
def test_the_time_for_a_reply_grows_with_its_length_alone(reply: str) -> None:
    """A model may repeat itself. By the square of the length each of these would take hours, not a second."""
    for evaluator in Evaluator:
        assert getattr(evaluators, evaluator.value)({"budeval_answer": "Z"}, [reply]) == {"accuracy": 0.0}


def test_there_is_one_for_each_name_that_requests_may_give() -> None:
    """The same names as everywhere."""
    assert all(callable(getattr(evaluators, evaluator.value)) for evaluator in Evaluator)
