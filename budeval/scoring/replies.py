"""Reading what a judge wrote, also where it was not held to JSON.

Local models think aloud first, put a fence or prose around the object, or break lines within strings. What is
none of that, as single quotes or a bare list, is not guessed at: the judge is asked again. What was read
can be kept: no text in it has half a character.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

MAX_CONTENT = 256 * 1024
"""Characters of what is searched for an object."""

_MAX_TRIES = 1000
"""Opening braces that lead nowhere: the search must not become quadratic in a long reply."""
_THOUGHT = re.compile("<(/?)think(?:ing)?>", re.IGNORECASE)
_BEGIN_OF_THOUGHT = re.compile(r"(?:\A|[\n}>`])[ \t]*(<think(?:ing)?>)", re.IGNORECASE)
"""Where something ends before it: within a sentence it is only spoken of."""
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_Pairs = tuple[tuple[str, Any], ...]
"""An object with all that was written, also where a name comes again."""


class Answer(BaseModel):
    """The base of what judges are asked for.

    Further fields are ignored, as judges that only know the prompt add some; the schema forbids them, which
    OpenAI's strict mode demands.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra={"additionalProperties": False})


AnswerT = TypeVar("AnswerT", bound=BaseModel)


class UnreadableError(ValueError):
    """A reply that does not hold the answer; the text says why, for the judge to read."""


def read(content: object, answer_model: type[AnswerT]) -> AnswerT:
    """The last object in a reply that is an answer: what comes before may be thoughts or an example.

    Args:
        content: of the message; null where a judge spent its tokens on hidden thoughts.
        answer_model: what was asked for.

    Raises:
        UnreadableError: there is none.
    """
    if not isinstance(content, str) or not content.strip():
        raise UnreadableError("it was empty")
    if len(content) > MAX_CONTENT:
        raise UnreadableError("it was too long")
    why = "it holds no JSON object"
    for candidate in _said(content)[::-1]:
        try:
            return answer_model.model_validate(_document(candidate))
        except ValidationError as error:
            why = _first_problem(error)
    raise UnreadableError(why)


def whole(content: object) -> object:
    """The content of a message; the texts of one that comes in parts, without thoughts, as one text."""
    if not isinstance(content, list):
        return content
    texts = [part for part in content if isinstance(part, dict) and part.get("type", "text") == "text"]
    return "".join(part["text"] for part in texts if isinstance(part.get("text"), str))


def well_formed(text: str) -> str:
    """The text with a replacement for each half of a character: no UTF-8 has one, JSON can name it."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def _document(said: Any) -> Any:
    """A JSON value as it may be kept.

    Raises:
        UnreadableError: an object says two things under one name. Which of them is meant is not guessed at.
    """
    try:
        return _plain(said)
    except RecursionError:
        raise UnreadableError("it is nested too deeply") from None


def _plain(said: Any) -> Any:
    if isinstance(said, str):
        return well_formed(said)
    if isinstance(said, list):
        return [_plain(item) for item in said]
    if not isinstance(said, tuple):
        return said
    found: dict[str, Any] = {}
    for name, value in said:
        key, plain = well_formed(name), _plain(value)
        if found.setdefault(key, plain) != plain:
            raise UnreadableError("a field is there twice, with different values")
    return found


def _said(text: str) -> list[_Pairs]:
    """The objects that are not merely thought, though one may quote the tags.

    They end behind the last thoughts that have an end, and begin before those that have none.
    """
    begun = {tag.start(1) for tag in _BEGIN_OF_THOUGHT.finditer(text)}
    thought, unfinished = 0, len(text)
    for tag in _THOUGHT.finditer(text):
        if tag[1]:
            thought, unfinished = tag.end(), len(text)
        elif tag.start() in begun:
            unfinished = min(unfinished, tag.start())
    return [found for found, start, end in _objects(text) if end > thought and start < unfinished]


def _objects(text: str) -> Iterator[tuple[_Pairs, int, int]]:
    """The outermost JSON objects in a text, in their order, with where they begin and end."""
    # Not strict: line breaks within strings are what small models write.
    decoder = json.JSONDecoder(strict=False, parse_constant=_no_number, object_pairs_hook=tuple)
    at, tries = text.find("{"), 0
    while at >= 0 and tries < _MAX_TRIES:
        try:
            found, end = decoder.raw_decode(text, at)
            yield found, at, end
        except (ValueError, RecursionError):
            end = at + 1
            tries += 1
        at = text.find("{", end)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)
