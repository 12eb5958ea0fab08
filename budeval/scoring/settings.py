"""What is known of an OpenAI-compatible endpoint (llama.cpp, vLLM, OpenAI, ...) before it is asked."""

from collections.abc import Iterable
from typing import Annotated, Literal, Self, TypeVar

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from budeval.domain.credential import sendable

Structured = Literal["json_schema", "json_object", "none"]

_PORTS = range(1, 65536)


def _one_spelling(url: str) -> str:
    """The address as httpx understands it, so that two spellings of one are one."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"it is no address: {error}") from error
    if not parsed.host or (parsed.port is not None and parsed.port not in _PORTS):
        raise ValueError("it names no host, or a port that there is not")
    return str(parsed).rstrip("/")


def _key_that_can_be_sent(key: SecretStr) -> SecretStr:
    """The message must not tell the key."""
    text = sendable(key.get_secret_value())
    if text is None:
        raise ValueError("it must be visible ASCII characters only, as it is sent in a header")
    return SecretStr(text)


class EndpointSettings(BaseModel):
    """An endpoint under the name by which requests choose it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    alias: str = Field(min_length=1, max_length=63)
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s?#@]+$"), AfterValidator(_one_spelling)]
    """With the version, as `http://127.0.0.1:8080/v1`; without user and password, as they would be shown."""
    model: str = Field(min_length=1)
    api_key: Annotated[SecretStr, AfterValidator(_key_that_can_be_sent)] | None = None
    timeout: float = Field(60.0, gt=0)
    """Seconds for one request, from connecting to the reply's last byte, without the wait for one's turn."""
    concurrency: int = Field(4, gt=0)
    """Requests at once, of all jobs. Where two aliases have one address, the smaller number counts."""
    max_input_chars: int = Field(400_000, gt=0)
    """Of one request; more is refused without asking (context_too_long). About 100,000 tokens of English."""


class JudgeSettings(EndpointSettings):
    """A chat model that judges."""

    max_tokens: int = Field(1024, gt=0)
    """Of a reply; one that is cut off is asked for once more with twice as many."""
    structured: Structured = "json_schema"
    """What to ask for first; what the endpoint does not know is left out from then on."""


class EmbedderSettings(EndpointSettings):
    """A model that embeds."""


EndpointT = TypeVar("EndpointT", bound=EndpointSettings)


class ScoringSettings(BaseSettings):
    """What scoring is told from outside, as `BUDEVAL_SCORING_…`."""

    model_config = SettingsConfigDict(env_prefix="BUDEVAL_SCORING_", frozen=True, hide_input_in_errors=True)

    judges: tuple[JudgeSettings, ...] = ()
    """Models that judge (a JSON list); the first is taken where a request names none."""
    embedders: tuple[EmbedderSettings, ...] = ()
    """Models that embed (a JSON list); the first is taken where a request names none."""
    artifacts: str = "budeval-runs"
    """Directory of the runs' artifacts: a path, or any URL that fsspec knows, as `s3://bucket/runs`."""
    adviser: str | None = None
    """Alias of the judge that puts the advice into words; None leaves it at the rules."""
    ragas_python: FilePath | None = None
    """Python of the environment that has ragas (`make ragas`); None: there is no engine `ragas`."""
    max_active_jobs: int = Field(1000, gt=0)
    """That have not ended; beyond them requests are refused (QUEUE_FULL)."""
    max_samples: int = Field(2000, gt=0)
    """Of one run of many."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for endpoints in (self.judges, self.embedders):
            aliases = [endpoint.alias for endpoint in endpoints]
            if len(set(aliases)) < len(aliases):
                raise ValueError("each alias may be there once")
        if self.adviser and self.adviser not in {judge.alias for judge in self.judges}:
            raise ValueError(f"adviser {self.adviser!r} is not among the judges")
        return self

    def judge(self, alias: str | None) -> JudgeSettings | None:
        """The judge of that alias.

        Raises:
            KeyError: there is none (any more).
        """
        return _by_alias(self.judges, alias)

    def embedder(self, alias: str | None) -> EmbedderSettings | None:
        """The embedder of that alias.

        Raises:
            KeyError: there is none (any more).
        """
        return _by_alias(self.embedders, alias)


def _by_alias(endpoints: Iterable[EndpointT], alias: str | None) -> EndpointT | None:
    return {endpoint.alias: endpoint for endpoint in endpoints}[alias] if alias else None
