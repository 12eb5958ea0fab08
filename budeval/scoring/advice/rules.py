"""The rules of the advice, as data. Each is judged sample by sample.

A family is metrics that say the same, the most telling first: of each sample the first one that has a value
counts. Thresholds are conventions, not laws: they tell where looking is worth the while.
"""

from dataclasses import dataclass
from enum import StrEnum

from budeval.scoring.advice.finding import Area

Family = tuple[str, ...]

RECALL: Family = ("context_recall", "non_llm_context_recall", "id_based_context_recall")
RANKING: Family = ("context_precision", "context_utilization", "non_llm_context_precision_with_reference")
"""Average precisions: they fall below 1 only where a useless context comes before a useful one."""
SHARE: Family = ("id_based_context_precision",)
"""Of useful contexts, whatever their ranks."""
PRECISION: Family = (*RANKING, *SHARE)
FAITHFULNESS: Family = ("faithfulness",)
RELEVANCY: Family = ("answer_relevancy",)
CORRECTNESS: Family = ("answer_correctness",)
SIMILARITY: Family = ("semantic_similarity",)
MEANING: Family = (*CORRECTNESS, *SIMILARITY)
WORDING: Family = ("exact_match", "non_llm_string_similarity")

GOOD = 0.8
"""From here on recall, faithfulness and correctness are taken for good."""


class Level(StrEnum):
    """What a condition asks of a family."""

    GOOD = "good"
    POOR = "poor"
    UNKNOWN = "unknown"
    """No metric of it has a value."""


@dataclass(frozen=True)
class Rule:
    """A family below its threshold, where others are as given."""

    name: str
    family: Family
    threshold: float
    title: str
    areas: tuple[Area, ...]
    changes: tuple[str, ...]
    given: tuple[tuple[Family, Level], ...] = ()
    evasive: bool | None = None
    """Of the answer by the relevancy's evidence: only evasive ones, only others, or (None) any."""
    zero: bool | None = None
    """Of the value: only 0, only above, or (None) any below the threshold."""


RULES: tuple[Rule, ...] = (
    Rule(
        name="contexts_lack_the_answer",
        family=RECALL,
        threshold=GOOD,
        title="The retrieved contexts lack part of what the right answer needs.",
        areas=(Area.RETRIEVAL, Area.CHUNKING),
        changes=(
            "Retrieve more contexts (a higher top-k), and see whether the recall rises.",
            "Search by keywords beside vectors (hybrid search): vectors miss names, numbers and codes.",
            "Make chunks larger or let them overlap, so that a fact and its subject are not cut apart.",
            "Check that the documents that hold the answer are in the index at all.",
        ),
    ),
    Rule(
        name="contexts_are_useless",
        family=PRECISION,
        threshold=0.7,
        given=((RECALL, Level.POOR),),
        zero=True,
        title="None of the retrieved contexts is useful.",
        areas=(Area.RETRIEVAL, Area.CORPUS),
        changes=(
            "Check that the documents that hold the answer are in the index at all.",
            "Check that questions are embedded by the model that has embedded the documents.",
            "Search by keywords beside vectors (hybrid search): vectors miss names, numbers and codes.",
        ),
    ),
    Rule(
        name="contexts_seem_useless",
        family=PRECISION,
        threshold=0.7,
        given=((RECALL, Level.UNKNOWN),),
        zero=True,
        title="None of the retrieved contexts is useful; whether they hold the answer, nobody has measured.",
        areas=(Area.RETRIEVAL, Area.CORPUS),
        changes=(
            "Give a ground truth and ask for context_recall: it tells whether the retrieval is the cause.",
            "Check that the documents that hold the answer are in the index at all.",
            "Check that questions are embedded by the model that has embedded the documents.",
            "If only context_utilization says so, look at the answer: it does not rest on its contexts.",
        ),
    ),
    Rule(
        name="contexts_go_unused",
        family=PRECISION,
        threshold=0.7,
        given=((RECALL, Level.GOOD),),
        zero=True,
        title="No retrieved context counts as useful by itself, although together they hold what is needed.",
        areas=(Area.PROMPT, Area.CHUNKING, Area.INPUTS),
        changes=(
            "If context_utilization says so: tell the model to answer from the contexts only.",
            "If edit distance says so: give reference contexts that are as long as the chunks.",
            "If ids say so: check the reference ids; other documents may hold the same.",
            "If context_precision says so: read its evidence; the judge contradicts its own recall.",
        ),
    ),
    Rule(
        name="contexts_are_noisy",
        family=RANKING,
        threshold=0.7,
        zero=False,
        title="Useless contexts come before useful ones.",
        areas=(Area.RETRIEVAL, Area.CHUNKING),
        changes=(
            "Put a reranker behind the search, and keep only its first results.",
            "Leave out contexts below a similarity, or retrieve fewer; watch that the recall stays.",
            "Filter by what is known of the documents (product, date, language) before searching.",
            "Make chunks smaller where they mix several subjects.",
        ),
    ),
    Rule(
        name="contexts_are_too_many",
        family=SHARE,
        threshold=0.7,
        given=((RANKING, Level.UNKNOWN),),
        zero=False,
        title="Too many of the retrieved contexts are useless.",
        areas=(Area.RETRIEVAL,),
        changes=(
            "Retrieve fewer contexts (a lower top-k); watch that the recall stays.",
            "Leave out contexts below a similarity, or what a reranker puts last.",
            "Filter by what is known of the documents (product, date, language) before searching.",
        ),
    ),
    Rule(
        name="invents_despite_contexts",
        family=FAITHFULNESS,
        threshold=GOOD,
        given=((RECALL, Level.GOOD),),
        title="The answer states what the contexts do not, although they hold what is needed.",
        areas=(Area.PROMPT, Area.MODEL),
        changes=(
            "Tell the model to answer from the contexts only, and to say so where they are silent.",
            "Lower the temperature to 0.",
            "Ask for the number of the context behind each statement.",
            "Try a model that follows instructions better.",
        ),
    ),
    Rule(
        name="invents_for_lack_of_contexts",
        family=FAITHFULNESS,
        threshold=GOOD,
        given=((RECALL, Level.POOR),),
        title="The answer fills the gaps of its contexts with inventions.",
        areas=(Area.RETRIEVAL, Area.PROMPT),
        changes=(
            "Mend the retrieval first: the model was not given what it needs.",
            "Tell the model to say what it does not find in the contexts instead of filling the gap.",
        ),
    ),
    Rule(
        name="invents",
        family=FAITHFULNESS,
        threshold=GOOD,
        given=((RECALL, Level.UNKNOWN),),
        title="The answer states what the contexts do not.",
        areas=(Area.PROMPT, Area.RETRIEVAL),
        changes=(
            "Tell the model to answer from the contexts only, and lower the temperature to 0.",
            "Give a ground truth and ask for context_recall: it tells whether the retrieval is the cause.",
        ),
    ),
    Rule(
        name="evades_despite_contexts",
        family=RELEVANCY,
        threshold=0.6,
        given=((RECALL, Level.GOOD),),
        evasive=True,
        title="The answer is evasive, although the contexts hold what is needed.",
        areas=(Area.PROMPT, Area.MODEL),
        changes=(
            "Loosen what the prompt says of uncertainty: the contexts do answer the question.",
            "Put the contexts nearer to the question, and fewer of them.",
            "Try a model with a larger window, or one that reads long contexts better.",
        ),
    ),
    Rule(
        name="evades",
        family=RELEVANCY,
        threshold=0.6,
        given=((RECALL, Level.POOR),),
        evasive=True,
        title="The answer is evasive, and the contexts do lack what it needs.",
        areas=(Area.RETRIEVAL,),
        changes=("Mend the retrieval: with these contexts an evasive answer is the honest one.",),
    ),
    Rule(
        name="evades_for_unknown_reasons",
        family=RELEVANCY,
        threshold=0.6,
        given=((RECALL, Level.UNKNOWN),),
        evasive=True,
        title="The answer is evasive.",
        areas=(Area.PROMPT, Area.RETRIEVAL),
        changes=(
            "See whether the contexts hold the answer: if so the prompt is at fault, else the retrieval.",
            "Give a ground truth and ask for context_recall: it tells which.",
        ),
    ),
    Rule(
        name="misses_the_question",
        family=RELEVANCY,
        threshold=0.6,
        evasive=False,
        title="The answer does not keep to the question.",
        areas=(Area.PROMPT,),
        changes=(
            "Ask for the answer first, and for nothing that was not asked.",
            "Take greetings, disclaimers and repetitions out of the prompt's template.",
            "Rewrite questions that rest on a conversation so that they can be understood alone.",
        ),
    ),
    Rule(
        name="grounded_but_wrong",
        family=CORRECTNESS,
        threshold=0.6,
        given=((FAITHFULNESS, Level.GOOD),),
        title="The answer keeps to its contexts and is wrong by the ground truth.",
        areas=(Area.CORPUS, Area.GROUND_TRUTH),
        changes=(
            "Compare the contexts with the ground truth: look for outdated or contradicting documents.",
            "Check the ground truth: it may be outdated, or more detailed than the question asks for.",
            "If both are right, ask for complete answers: something may have been left out.",
        ),
    ),
    Rule(
        name="wrong_despite_contexts",
        family=CORRECTNESS,
        threshold=0.6,
        given=((RECALL, Level.GOOD), (FAITHFULNESS, Level.UNKNOWN)),
        title="The contexts hold the right answer and the model does not give it.",
        areas=(Area.MODEL, Area.PROMPT),
        changes=(
            "Ask for faithfulness too: it tells whether the model invents or leaves out.",
            "Try a stronger model on the same contexts.",
            "Give fewer contexts, the best first: models overlook what stands in the middle.",
        ),
    ),
    Rule(
        name="wrong_for_unknown_reasons",
        family=CORRECTNESS,
        threshold=0.6,
        given=((RECALL, Level.UNKNOWN), (FAITHFULNESS, Level.UNKNOWN)),
        title="The answer is wrong by the ground truth.",
        areas=(Area.RETRIEVAL, Area.MODEL, Area.GROUND_TRUTH),
        changes=(
            "Ask for context_recall and faithfulness: they tell whether retrieval or model is at fault.",
            "Compare the contexts with the ground truth: where they lack it, mend the retrieval first.",
            "Check the ground truth: it may be outdated, or more detailed than the question asks for.",
        ),
    ),
    Rule(
        name="means_something_else",
        family=SIMILARITY,
        threshold=0.6,
        given=((CORRECTNESS, Level.UNKNOWN),),
        title="The answer does not mean what the ground truth says.",
        areas=(Area.MODEL, Area.RETRIEVAL, Area.GROUND_TRUTH),
        changes=(
            "Ask for answer_correctness: it tells which statements are wrong, and which are missing.",
            "Ask for context_recall: it tells whether the contexts hold what the answer needs.",
            "If the answer is right, check the ground truth's length and form: they count here, too.",
        ),
    ),
    Rule(
        name="right_in_other_words",
        family=WORDING,
        threshold=0.5,
        given=((MEANING, Level.GOOD),),
        title="The answer means what the ground truth says, in other words.",
        areas=(Area.GROUND_TRUTH, Area.PROMPT),
        changes=(
            "Leave the metrics of wording out, or weigh them less: they count the wording only.",
            "Where the wording matters, show the form of the answer in the prompt.",
        ),
    ),
    Rule(
        name="other_words_and_meaning",
        family=WORDING,
        threshold=0.5,
        given=((MEANING, Level.POOR),),
        title="The answer has other words than the ground truth, and not quite its meaning.",
        areas=(Area.MODEL, Area.PROMPT),
        changes=(
            "Look at the meaning first: what is not right cannot be worded alike.",
            "Where the wording matters, show the form of the answer in the prompt.",
        ),
    ),
    Rule(
        name="other_words",
        family=WORDING,
        threshold=0.5,
        given=((MEANING, Level.UNKNOWN),),
        title="The answer has other words than the ground truth; whether it is wrong, nobody has measured.",
        areas=(Area.GROUND_TRUTH, Area.PROMPT),
        changes=(
            "Ask for answer_correctness or semantic_similarity: they tell whether it means the same.",
            "Where the wording matters, show the form of the answer in the prompt.",
        ),
    ),
)
"""Judged in this order; those of equal impact keep it."""

SUPPLY: dict[str, str] = {
    "missing_answer": "Give `answer`: what the system has answered.",
    "missing_contexts": "Give `contexts`: what was retrieved, in its order.",
    "missing_ground_truth": "Give `ground_truth`: what should have been answered.",
    "missing_question": "Give `question`.",
    "missing_reference_contexts": "Give `reference_contexts`: what should have been retrieved.",
    "missing_ids": (
        "Give `context_ids` and `reference_context_ids`: what was, and what should have been, retrieved."
    ),
    "no_judge": "Name a judge in the request, or configure one.",
    "no_embedder": "Name an embedding model in the request, or configure one.",
}
"""By reason code of skipped metrics, what to do."""

REPAIR: dict[str, str] = {
    "deadline": (
        "The job's time was up: retry the job, which scores what is missing, or give a larger `timeout_s`."
    ),
    "endpoint_unknown": (
        "The settings have no such judge or embedder any more: put it back and retry the job, or name "
        "another one in a new request."
    ),
    "engine_unavailable": (
        "The process of the other engine ended or did not answer: see the message, and retry the job."
    ),
    "rate_limited": "The endpoint limits the rate: lower `concurrency` in its settings, or raise its limit.",
    "judge_timeout": "The judge is too slow: raise `timeout` in its settings, or take a faster model.",
    "embedder_timeout": "The embedder is too slow: raise `timeout` in its settings, or take a faster model.",
    "judge_unavailable": "The judge was away: check its address, and ask for the failed metrics again.",
    "embedder_unavailable": "The embedder was away: check its address, and ask for the failed metrics again.",
    "judge_refused": "The judge refuses the requests: check key, model name and what the message says.",
    "embedder_refused": "The embedder refuses the requests: check key, model name and what the message says.",
    "judge_output_invalid": "The judge does not keep to the form of its answer: take a more capable model.",
    "judge_truncated": "The judge's answers are cut off: raise `max_tokens` in its settings.",
    "context_too_long": (
        "The sample is too long: give fewer or shorter contexts, or a judge with a larger window."
    ),
    "embedding_invalid": "The embedder's answers cannot be used: check that the model is one for embeddings.",
    "embedding_zero_norm": "The embedder gives vectors without a direction: take another embedding model.",
    "no_statements": "The judge finds no statement in a text: see whether it says anything at all.",
}
"""By reason code of metrics without a value, what to do."""

ANYTHING_ELSE = "See the message of the metric in `scores.json`."
