"""Asking a chat model for a judgement of a given shape.

A transport fault is raised at once. What is repeated here, once each, is what the same request would meet
again: a reply that was cut off (with twice the tokens) and one that cannot be read (with what was wrong).
"""

from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel

from budeval.domain.scoring import Usage
from budeval.scoring.bill import Bill
from budeval.scoring.dialect import Dialect, Dialects
from budeval.scoring.endpoint import Endpoint, tokens
from budeval.scoring.failures import JudgeError, ReplyUnusableError, RequestRefusedError
from budeval.scoring.limiter import Limiter
from budeval.scoring.replies import AnswerT, UnreadableError, read, whole
from budeval.scoring.settings import JudgeSettings


@dataclass
class _Asking:
    """One question on its way."""

    answer_model: type[BaseModel]
    max_tokens: int
    bill: Bill
    widened: bool = False


class Judge:
    """A judge; a context manager, for the event loop that opens it."""

    def __init__(
        self,
        settings: JudgeSettings,
        limiter: Limiter,
        dialects: Dialects | None = None,
        seed: int | None = None,
    ) -> None:
        """`dialects` tells, and is told, how the endpoint wants to be asked; `seed` is for its sampling."""
        self._settings = settings
        self._seed = seed
        self._endpoint = Endpoint(settings, "judge", limiter)
        self._dialects = {} if dialects is None else dialects
        self._dialects.setdefault(settings.alias, Dialect(settings.structured))

    @property
    def model(self) -> str:
        """What the endpoint calls the model."""
        return self._settings.model

    async def __aenter__(self) -> Self:
        await self._endpoint.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._endpoint.__aexit__()

    async def ask(
        self, prompt: str, answer_model: type[AnswerT], bill: Bill | None = None
    ) -> tuple[AnswerT, Usage]:
        """The judge's answer, and what it cost.

        Args:
            prompt: with the shape of the answer in it: not every endpoint shows the model the schema.
            answer_model: what the answer must be.
            bill: an empty one, for who wants to know what was spent until a cancellation.

        Raises:
            JudgeError: with what was spent.
        """
        asking = _Asking(answer_model, self._settings.max_tokens, bill or Bill())
        try:
            return await self._answer(prompt, answer_model, asking), asking.bill.usage
        except JudgeError as error:
            error.usage = asking.bill.usage
            raise

    async def _answer(self, prompt: str, answer_model: type[AnswerT], asking: _Asking) -> AnswerT:
        content = await self._whole(prompt, asking)
        try:
            return read(content, answer_model)
        except UnreadableError as error:
            # Without the reply itself: it would cost its tokens again, and models repeat what they see.
            again = (
                f"{prompt}\n\nYour last reply could not be used: {error}. Reply with the JSON object only."
            )
        content = await self._whole(again, asking)
        try:
            return read(content, answer_model)
        except UnreadableError as error:
            self._endpoint.unusable(f"cannot be read: {error}", content)

    async def _whole(self, prompt: str, asking: _Asking) -> object:
        """The content of a reply that was not cut off."""
        while True:
            document = await self._send(prompt, asking)
            content, finish = self._choice(document)
            if finish != "length":
                return content
            if asking.widened:
                text = (
                    f"the reply was cut off at {asking.max_tokens} tokens: {self._endpoint.excerpt(content)}"
                )
                raise ReplyUnusableError(text, "judge_truncated")
            asking.widened, asking.max_tokens = True, 2 * asking.max_tokens

    async def _send(self, prompt: str, asking: _Asking) -> dict[str, Any]:
        """The reply in whatever dialect the endpoint understands.

        Which one that is is remembered once it was answered: some endpoints echo the request in whatever
        refusal, as if all of it were at fault.
        """
        self._endpoint.check_length(len(prompt))
        dialect = self._dialects[self._settings.alias]
        while True:
            body = dialect.body(
                self._settings.model, prompt, asking.answer_model, asking.max_tokens, self._seed
            )
            try:
                document = await self._endpoint.post("/chat/completions", body, asking.bill)
            except RequestRefusedError as refusal:
                simpler = dialect.without(refusal, body)
                if simpler is None:
                    raise
                dialect = simpler
                continue
            self._dialects[self._settings.alias] = dialect
            prompt_tokens, completion_tokens = tokens(document)
            asking.bill.add(Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens))
            return document

    def _choice(self, document: dict[str, Any]) -> tuple[object, object]:
        """Content and finish reason. Content that is not there is null: thoughts have taken all tokens.

        Raises:
            EndpointBusyError: judge_unavailable, where it broke off.
            RequestRefusedError: judge_refused, where the model or a filter declines in its own words.
            ReplyUnusableError: it is no chat completion.
        """
        try:
            choice = document["choices"][0]
            finish = choice.get("finish_reason")
            if finish == "error":
                self._endpoint.broke_off(choice.get("error"))
            message = choice["message"]
            content, declined = whole(message.get("content")), message.get("refusal")
        except (KeyError, IndexError, TypeError, AttributeError):
            self._endpoint.unusable("is no chat completion", document)
        if finish == "content_filter" or (declined and not content):
            text = f"the judge declines: {self._endpoint.excerpt(declined or finish)}"
            raise RequestRefusedError(text, "judge_refused")
        return content, finish
