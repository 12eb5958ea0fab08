"""A fake judge that understands nothing: it says the example of the prompt, letter by letter."""

from typing import Any

from tests.scoring.fake_judge import FakeJudge, Reply, says


def shape_in(text: str) -> str:
    """What a prompt shows as the form of its answer."""
    told = text.splitlines()[0]
    return told[told.index("{") :]


class FakeParrot(FakeJudge):
    """Says what is scripted, and after that the shape in each prompt; all texts are alike to its embedder."""

    def reply_to(self, request: dict[str, Any]) -> Reply:
        """See `FakeJudge`."""
        body = request["body"]
        if "input" in body:
            self.vectors = {text: [1.0, 0.0] for text in body["input"]}
        scripted = bool(self.chat)
        reply = super().reply_to(request)
        return reply if scripted or "input" in body else says(shape_in(body["messages"][-1]["content"]))
