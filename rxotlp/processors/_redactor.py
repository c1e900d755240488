"""Finding what is to be hidden, wherever attributes and bodies are in a message.

Which fields of a message hold attributes or a value, at any depth (a span's events, a data
point's exemplars), is read from its descriptor, so a field that OTLP adds is seen too.

No text of a value ever gets into an error: nothing here raises with one.
"""

import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from functools import cache, lru_cache
from typing import Any

from google.protobuf.descriptor import Descriptor

__all__ = ["Redactor"]

_KEYED = ("KeyValue", "KeyValueAndUnit")
_NESTED = ("array_value", "kvlist_value")
_GLOB = re.compile(r"[*?\[]")


class Redactor:
    """Replaces the values of some keys, and some texts in all values.

    Attributes:
        needles: byte strings of which one occurs wherever something is to be hidden; None
            when that cannot be told from bytes.
    """

    __slots__ = ("_hidden", "_patterns", "_replacement", "needles")

    def __init__(
        self, keys: Sequence[str], patterns: Sequence[re.Pattern[str]], replacement: str
    ) -> None:
        self._hidden = _matcher(keys)
        self._patterns = tuple(patterns)
        self._replacement = replacement
        exact = not patterns and not any(map(_GLOB.search, keys))
        self.needles = [key.encode() for key in keys] if exact else None

    def message(self, message: Any, strings: Any = ()) -> bool:
        """Redact a message in place; returns whether anything was to be hidden.

        Args:
            strings: the string table that a profiles request's attributes refer to; a text
                that is hidden is hidden there.
        """
        changed = False
        for name, kind, repeated in _places(message.DESCRIPTOR):
            found = getattr(message, name)
            if kind == "pairs":
                changed |= self._pairs(found, strings)
            elif repeated:
                for item in found:
                    changed |= self._one(item, kind, strings)
            elif message.HasField(name):
                changed |= self._one(found, kind, strings)
        return changed

    def attributes(self, pairs: Any) -> tuple[int, bool]:
        """Hide the values of a list of attributes without looking into the others.

        Returns:
            How many keys were to be hidden, and whether that changed anything.
        """
        hidden = self._hidden
        found = [pair.value for pair in pairs if hidden(pair.key)]
        changed = [self._hide(value, ()) for value in found]  # all of them
        return len(found), any(changed)

    def _one(self, found: Any, kind: str, strings: Any) -> bool:
        return self._value(found, strings) if kind == "value" else self.message(found, strings)

    def _pairs(self, pairs: Any, strings: Any) -> bool:
        hidden, patterns = self._hidden, self._patterns
        changed = False
        for pair in pairs:
            if strings and pair.key_strindex:
                key = strings[pair.key_strindex]
            else:  # a table's entries have no key of their own, only the index of one
                key = getattr(pair, "key", "")
            if hidden(key):
                changed |= self._hide(pair.value, strings)
            elif patterns or pair.value.WhichOneof("value") in _NESTED:
                changed |= self._value(pair.value, strings)
        return changed

    def _hide(self, value: Any, strings: Any) -> bool:
        kind = value.WhichOneof("value")
        if kind is None or (kind == "string_value" and value.string_value == self._replacement):
            return False
        if kind == "string_value_strindex":
            index = value.string_value_strindex
            if not index or strings[index] == self._replacement:
                return False
            strings[index] = self._replacement
        else:
            value.string_value = self._replacement
        return True

    def _value(self, value: Any, strings: Any) -> bool:
        """Redact a value that is under no hidden key."""
        kind = value.WhichOneof("value")
        if kind == "kvlist_value":
            return self._pairs(value.kvlist_value.values, strings)
        if kind == "array_value":
            changed = [self._value(item, strings) for item in value.array_value.values]
            return any(changed)
        if not self._patterns:
            return False
        if kind == "string_value":
            text = self._without(value.string_value)
            if text is None:
                return False
            value.string_value = text
        elif kind == "string_value_strindex":
            index = value.string_value_strindex
            text = self._without(strings[index]) if index else None
            if text is None:
                return False
            strings[index] = text
        elif kind == "bytes_value":
            text = self._without(value.bytes_value.decode("utf-8", "surrogateescape"))
            if text is None:
                return False
            value.bytes_value = text.encode("utf-8", "surrogateescape")
        elif kind == "int_value":
            text = self._without(str(value.int_value))
            if text is None:
                return False
            value.string_value = text
        else:
            return False
        return True

    def _without(self, text: str) -> str | None:
        """The text with what the patterns find replaced; None when that is nothing new."""
        made = text
        for pattern in self._patterns:
            made = pattern.sub(lambda _found: self._replacement, made)
        return None if made == text else made


def _matcher(keys: Sequence[str]) -> Callable[[str], bool]:
    """Whether a key is one of these, which may be globs."""
    exact = frozenset(keys)
    globs = [translate(key) for key in keys if _GLOB.search(key)]
    if not globs:
        return exact.__contains__
    pattern = re.compile("|".join(globs))
    # A program has few keys; the bound is for senders that make keys up.
    return lru_cache(maxsize=4096)(lambda key: key in exact or pattern.match(key) is not None)


@cache
def _places(descriptor: Descriptor) -> tuple[tuple[str, str, bool], ...]:
    """The fields that hold something to look at: name, kind, whether it is a list."""
    found = []
    for field in descriptor.fields:
        below: Any = field.message_type
        if below is None:
            continue
        if below.name in _KEYED and field.is_repeated:
            found.append((field.name, "pairs", True))
        elif below.name == "AnyValue":
            found.append((field.name, "value", field.is_repeated))
        elif _places(below):
            found.append((field.name, "message", field.is_repeated))
    return tuple(found)
