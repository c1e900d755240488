"""What all ready-made processors have in common: a text that says what they are."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from rxotlp.data import TelemetryData

__all__ = ["ReadyProcessor", "check_key", "mapping", "named"]

Made = TypeVar("Made", covariant=True)


class ReadyProcessor(Generic[Made]):
    """A processor for `chain`: a function from an element to what goes on."""

    __slots__ = ("_function", "_text")

    def __init__(self, text: str, function: Callable[[TelemetryData], Made]) -> None:
        self._text = text
        self._function = function

    def __call__(self, data: TelemetryData) -> Made:
        """The element itself when nothing changes, others, or None to filter it."""
        return self._function(data)

    def __repr__(self) -> str:
        return self._text


def named(call: str, argument: str, keys: object) -> tuple[str, ...]:
    """An argument that lists attribute keys, checked.

    Raises:
        TypeError: it is no collection of strings. A lone string is refused: its letters are
            never what was meant.
        ValueError: one is empty.
    """
    if isinstance(keys, str) or not isinstance(keys, Iterable):
        meant = f"; for one key write [{keys!r}]" if isinstance(keys, str) else ""
        raise TypeError(
            f"{call}({argument}={keys!r}): expected a list of keys, "
            f"got {type(keys).__name__}{meant}"
        )
    found = tuple(keys)
    for key in found:
        check_key(call, argument, key)
    return found


def check_key(call: str, argument: str, key: Any) -> None:
    """Refuse what can be no attribute's key."""
    if not isinstance(key, str):
        raise TypeError(f"{call}({argument}={key!r}): expected a str, got {type(key).__name__}")
    if not key:
        raise ValueError(
            f"{call}({argument}={key!r}): expected a key; no attribute has an empty one"
        )
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{call}({argument}={key!r}): expected Unicode text: {error}") from None


def mapping(call: str, argument: str, entries: object) -> Mapping[str, Any]:
    """An argument that maps attribute keys to something, checked as far as the keys.

    Raises:
        TypeError: it is no mapping, or a key is no string.
        ValueError: a key is empty.
    """
    if not isinstance(entries, Mapping):
        raise TypeError(
            f"{call}({argument}={entries!r}): expected a mapping, got {type(entries).__name__}"
        )
    for key in entries:
        check_key(call, argument, key)
    return entries
