"""What a fake judge says for whole metrics."""

from tests.scoring.fake_judge import Reply, embeddings, says, verdicts


def for_faithfulness(*supported: bool) -> list[Reply]:
    """The statements of an answer, then a verdict on each."""
    statements = [f"Statement {number}." for number in range(1, len(supported) + 1)]
    return [says({"statements": statements}), verdicts(*supported)]


def for_context_recall(*attributed: bool) -> list[Reply]:
    """The sentences of a ground truth, with their verdicts."""
    found = [{"statement": f"Sentence {at}.", "attributed": it} for at, it in enumerate(attributed, 1)]
    return [says({"statements": found})]


def for_answer_relevancy() -> list[Reply]:
    """Three questions."""
    return [says({"questions": ["When?", "In which year?", "Since when?"], "noncommittal": False})]


def embedded_alike(texts: int) -> Reply:
    """The same vector for each text, so every similarity is 1."""
    return embeddings(*[[1.0, 0.0]] * texts)
