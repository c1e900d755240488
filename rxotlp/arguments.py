"""Checks of what elements are made from; every message names call, value and reason."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from google.protobuf.message import Message

from rxotlp.wire.signals import Signal

__all__ = ["check_limit", "check_signal", "encoded", "frozen", "one_line"]

_NO_METADATA: Mapping[str, str] = MappingProxyType({})
_SIGNALS = {signal.names.request: signal for signal in Signal}


def check_signal(call: str, signal: object) -> None:
    """Refuse what is no signal."""
    if not isinstance(signal, Signal):
        raise TypeError(
            f"TelemetryData.{call}(signal={signal!r}): expected a Signal, "
            f"got {type(signal).__name__}"
        )


def check_limit(name: str, limit: int | None) -> None:
    """Refuse a limit on parts that no part could keep."""
    if limit is not None and limit < 1:
        raise ValueError(
            f"TelemetryData.split({name}={limit}): expected 1 or more; no part could hold anything"
        )


def frozen(call: str, metadata: Mapping[str, str] | None) -> Mapping[str, str]:
    """A read-only copy of an element's metadata."""
    if not metadata:
        return _NO_METADATA
    for key, text in metadata.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(
                f"TelemetryData.{call}(metadata={{{key!r}: {type(text).__name__}}}): "
                "expected strings for keys and values; metadata is written to disk and headers"
            )
    return MappingProxyType(dict(metadata))


def encoded(call: str, message: Message) -> tuple[Signal, bytes]:
    """A request message's signal and bytes."""
    signal = _SIGNALS.get(type(message))
    if signal is None:
        raise TypeError(
            f"TelemetryData.{call}({type(message).__name__}): expected an Export…ServiceRequest"
        )
    return signal, message.SerializeToString()


def one_line(value: object, *, most: int = 60) -> str:
    """What a value is, as a person would write it, in so many characters at most.

    Functions and classes go by their name, mappings and sequences by what is in them.
    """
    if isinstance(value, Mapping):
        text = "{" + ", ".join(f"{one_line(k)}: {one_line(v)}" for k, v in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(map(one_line, value)) + "]"
    elif isinstance(value, Enum):
        text = f"{type(value).__name__}.{value.name}"
    elif callable(value) and hasattr(value, "__name__"):
        text = value.__name__.strip("<>")
    else:
        text = " ".join(repr(value).split())
    return text if len(text) <= most else text[: most - 1] + "…"
