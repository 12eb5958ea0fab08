"""How a chat endpoint wants to be asked. They differ in what they know, and say so with status 400."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from budeval.scoring.failures import RequestRefusedError
from budeval.scoring.settings import Structured

_SIMPLER: dict[Structured, Structured] = {"json_schema": "json_object", "json_object": "none"}
_SAY_WHAT_THEY_LACK = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)


class _Terse(GenerateJsonSchema):
    """Without titles and descriptions: the prompt says what is meant, and some endpoints bill the schema."""

    def field_title_should_be_set(self, schema: CoreSchema) -> bool:  # noqa: ARG002 - the base class's signature
        """Never."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """That of the base class, less what people read."""
        found = super().model_schema(schema)
        return {name: part for name, part in found.items() if name not in {"title", "description"}}


@dataclass(frozen=True)
class Dialect:
    """What a request says beside the prompt."""

    structured: Structured
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """OpenAI's reasoning models take the second only; llama.cpp and many others know the first only."""
    cold: bool = True
    """Temperature 0, which OpenAI's reasoning models refuse."""
    seeded: bool = True
    """A seed, where there is one."""

    def body(
        self, model: str, prompt: str, answer_model: type[BaseModel], max_tokens: int, seed: int | None
    ) -> dict[str, Any]:
        """The request. One user message: some models' templates have no other role."""
        messages = [{"role": "user", "content": prompt}]
        body: dict[str, Any] = {"model": model, "messages": messages, self.limit: max_tokens}
        if self.cold:
            body["temperature"] = 0
        if self.seeded and seed is not None:
            body["seed"] = seed
        if self.structured == "json_object":
            body["response_format"] = {"type": "json_object"}
        if self.structured == "json_schema":
            wanted = answer_model.model_json_schema(schema_generator=_Terse)
            schema = {"name": "answer", "strict": True, "schema": wanted}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def without(self, refusal: RequestRefusedError, body: Mapping[str, Any]) -> "Dialect | None":
        """The dialect without what the endpoint has just refused; None where that is something else."""
        if refusal.status not in _SAY_WHAT_THEY_LACK:
            return None
        said = refusal.said
        # First: whoever refuses all that he names has most likely answered the same without a seed before.
        if self.seeded and "seed" in body and _names(said, "seed"):
            return replace(self, seeded=False)
        if self.structured in _SIMPLER and _names(said, "response_format", "json_schema", "json_object"):
            return replace(self, structured=_SIMPLER[self.structured])
        if self.limit == "max_tokens" and _names(said, "max_completion_tokens"):
            return replace(self, limit="max_completion_tokens")
        if self.cold and _names(said, "temperature"):
            return replace(self, cold=False)
        return None


Dialects = dict[str, Dialect]
"""What is known by the alias of the endpoint. Shared by all jobs: each would else be refused anew."""


def _names(said: str, *fields: str) -> bool:
    return any(field in said for field in fields)
