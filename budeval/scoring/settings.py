"""What is known of an OpenAI-compatible endpoint (llama.cpp, vLLM, OpenAI, ...) before it is asked."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Structured = Literal["json_schema", "json_object", "none"]


class EndpointSettings(BaseModel):
    """An endpoint under the name by which requests choose it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alias: str = Field(min_length=1, max_length=63)
    base_url: str = Field(pattern=r"^https?://[^\s?#]+$")
    """With the version, as `http://127.0.0.1:8080/v1`."""
    model: str = Field(min_length=1)
    api_key: SecretStr | None = None
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
