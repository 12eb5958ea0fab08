"""YAML as far as a kubeconfig needs it: mappings whose keys are texts, lists, and texts.

A whole YAML reader makes numbers and dates of what it reads, and copies mappings into each other (`<<`): some
hundred characters of a request would keep it busy for hours, and the service with it. This one goes through
the parser's events, makes nothing of what is no text, and stops at its limits: 0.1 s for 256 KiB at most.
"""

import re
from typing import Any

import yaml

_MOST_NODES = 20_000
_DEEPEST = 32

_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_PLAIN_TAGS = {None, "!", _TEXT, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_TAG_DIRECTIVE = re.compile(r"^%TAG", re.MULTILINE)
"""Each is compared with all before it."""
# Those of libyaml where PyYAML was built with it, as its wheels are: ten times faster.
_Loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_Dumper = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper

_Node = yaml.AliasEvent | yaml.ScalarEvent | yaml.CollectionStartEvent


class NotPlainError(ValueError):
    """It is no YAML, or more of it than is read here; quotes nothing: there are credentials in it."""


def parse(text: str) -> Any:
    """What a text says: mappings as dict, lists, texts; None for what is no text, as numbers and dates.

    Raises:
        NotPlainError: it cannot be read, or has too much in it; says why.
    """
    if _TAG_DIRECTIVE.search(text):
        raise NotPlainError("it has a %TAG directive")
    try:
        return _Reading(_Loader(text)).document()
    except NotPlainError:
        raise
    except (yaml.YAMLError, ValueError):
        # Without the cause: what PyYAML says of a text may have the text in it.
        raise NotPlainError("it is not YAML") from None


def write(document: Any) -> str:
    """The reverse of `parse`."""
    text: str = yaml.dump(document, Dumper=_Dumper)
    return text


class _Reading:
    """Puts together what the events of a parser tell, without recursion, and within the limits."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._documents: list[Any] = []
        self._open: list[Any] = [self._documents]
        """The lists and mappings that are under way, the innermost last."""
        self._keys: list[str | None] = [None]
        """Of each, if it is a mapping: the key that waits for its value."""
        self._anchors: dict[str, Any] = {}
        self._nodes = 0

    def document(self) -> Any:
        """The only one, None where there is none."""
        while self._loader.check_event():
            event = self._loader.get_event()
            if isinstance(event, yaml.CollectionEndEvent):
                self._open.pop()
                self._keys.pop()
            elif isinstance(event, _Node):
                self._take(event)
        if len(self._documents) > 1:
            raise NotPlainError("it is more than one document")
        return self._documents[0] if self._documents else None

    def _take(self, event: _Node) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise NotPlainError(f"it has more than {_MOST_NODES} entries")
        value = self._value(event)
        self._put(value)
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append(value)
            self._keys.append(None)
            if len(self._open) > _DEEPEST:
                raise NotPlainError(f"it is nested more than {_DEEPEST} levels deep")

    def _value(self, event: _Node) -> Any:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise NotPlainError("it has an alias without an anchor")
            return self._anchors[event.anchor]
        if event.tag not in _PLAIN_TAGS:
            raise NotPlainError("it has a tag")
        value = self._text(event) if isinstance(event, yaml.ScalarEvent) else _empty(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        return value

    def _text(self, event: yaml.ScalarEvent) -> str | None:
        tag = event.tag
        if tag in {None, "!"}:
            tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag == _MERGE:
            raise NotPlainError("it merges mappings (`<<`)")
        return event.value if tag == _TEXT else None

    def _put(self, value: Any) -> None:
        """Into the innermost that is under way."""
        inner, key = self._open[-1], self._keys[-1]
        if isinstance(inner, list):
            inner.append(value)
        elif key is not None:
            inner[key] = value
            self._keys[-1] = None
        elif isinstance(value, str):
            self._keys[-1] = value
        else:
            raise NotPlainError("it has a key that is no text")


def _empty(event: yaml.CollectionStartEvent) -> list[Any] | dict[str, Any]:
    return {} if isinstance(event, yaml.MappingStartEvent) else []
