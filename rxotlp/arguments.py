"""Checks of what elements are made from; every message names call, value and reason."""

from collections.abc import Mapping
from types import MappingProxyType

from google.protobuf.message import Message

from rxotlp.wire.signals import Signal

__all__ = ["check_limit", "check_signal", "encoded", "frozen"]

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
