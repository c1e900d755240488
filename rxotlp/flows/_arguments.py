"""What the arguments of operations must be, so that OTLP can be made of every one of them.

Checked where an operation is written: a text or a number that protobuf refuses would else
come up when its metric or trace leaves, and take everything with it that leaves together.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rxotlp.wire.values import any_value

__all__ = ["Attributes", "check_id", "check_name", "check_text", "frozen", "is_finite", "none"]

Attributes = Mapping[str, Any]

_NONE: Attributes = MappingProxyType({})
_UTF_8 = "expected text that UTF-8 can hold; OTLP's strings are UTF-8"


def none() -> Attributes:
    """No attributes."""
    return _NONE


def is_finite(value: float) -> bool:
    """Whether OTLP's doubles can hold it; an int may be too large for that."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def check_text(call: str, text: object) -> None:
    """Refuse what is no str, or has halves of surrogate pairs in it."""
    if not isinstance(text, str):
        raise TypeError(f"{call}={text!r}): expected a str")
    try:
        text.encode()
    except UnicodeError:
        raise ValueError(f"{call}={text!r}): {_UTF_8}") from None


def check_name(call: str, name: object) -> None:
    """Refuse what is no text, or empty."""
    check_text(f"{call}(name", name)
    if not name:
        raise ValueError(f"{call}(name=''): expected a name; backends find data by it")


def check_id(operation: object, argument: str, value: object, digits: int) -> None:
    """Refuse what is neither None nor an id of so many digits."""
    if value is None:
        return
    call = f"{type(operation).__name__}({argument}={value!r})"
    if not isinstance(value, str):
        raise TypeError(f"{call}: expected {digits} hex digits, or None")
    good = len(value) == digits and all(one in "0123456789abcdef" for one in value)
    if not good or not value.strip("0"):
        raise ValueError(f"{call}: expected {digits} lower-case hex digits, not all zero")


def frozen(call: str, attributes: object) -> Attributes:
    """A copy that nobody changes; refuses what OTLP has no value for."""
    if not isinstance(attributes, Mapping):
        raise TypeError(f"{call}={attributes!r}): expected a mapping of names to values")
    for name, value in attributes.items():
        try:
            if not isinstance(name, str):
                raise TypeError("expected a str as its name")
            name.encode()
            any_value(value)
        except UnicodeError:
            raise ValueError(f"{call}[{name!r}]={value!r}): {_UTF_8}") from None
        except (TypeError, ValueError) as error:
            raise type(error)(f"{call}[{name!r}]={value!r}): {error}") from None
    return MappingProxyType(dict(attributes)) if attributes else none()
