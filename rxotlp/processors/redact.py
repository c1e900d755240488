"""`redact`: what must not leave does not, wherever it is.

Everything that holds attributes is looked at, on all four signals; that is why there is no
`level=` here. Without patterns and globs, what does not have the bytes of a key is not
decoded: a key stands on the wire as it is.
"""

import re
from collections.abc import Iterable
from typing import Any

from rxotlp.data import RecordView, Signal, TelemetryData
from rxotlp.processors._ready import ReadyProcessor, named
from rxotlp.processors._redactor import Redactor
from rxotlp.wire.rewrite import Change, rewrite

__all__ = ["redact"]

_CALL = "redact"


def redact(
    *,
    keys: Iterable[str] = (),
    patterns: Iterable[str | re.Pattern[str]] = (),
    replace_with: str = "[redacted]",
) -> ReadyProcessor[TelemetryData]:
    """Hide values in attributes and log bodies, at any depth.

    Example:
        >>> from rxotlp import Signal, TelemetryData
        >>> from rxotlp.processors import redact
        >>> body = '{"body": {"stringValue": "card 4111111111111111 declined"}}'
        >>> logs = TelemetryData.from_json(
        ...     Signal.LOGS, '{"resourceLogs": [{"scopeLogs": [{"logRecords": [%s]}]}]}' % body)
        >>> [record.body for record in redact(patterns=[r"\\b\\d{16}\\b"])(logs).records()]
        ['card [redacted] declined']

    Args:
        keys: attributes whose whole value, of whatever type, is replaced; also keys inside
            of values. `*`, `?` and `[...]` match as in file names: `http.request.header.*`.
        patterns: regular expressions; what they find in a text is replaced, the rest of it
            stays. Bytes are searched as UTF-8, and a whole number that matches becomes text.
        replace_with: stands in place of what was hidden, as it is written here.

    Looked at are the attributes of resources, scopes, spans, span events and links, data
    points, exemplars and log records, a metric's metadata, and log bodies. Names, status
    messages and attribute keys are not. In a profiles request the table of attributes is
    looked at; a text that is hidden is hidden in the string table, so also in other places
    that refer to it, and a profile's `original_payload` is left alone.

    An element in which nothing is to be hidden is passed on itself, and records in which
    nothing is keep their bytes. One that cannot be decoded makes the processor raise, without
    a word of what it holds, and `chain` rejects it: what cannot be looked through does not
    pass. (A record whose bytes do not have any of the keys is not decoded, and passes.)

    Raises:
        TypeError, ValueError: an argument is not of this form, or there is nothing to hide.
    """
    hidden = named(_CALL, "keys", keys)
    found = [_compiled(pattern) for pattern in _several(patterns)]
    if not hidden and not found:
        raise ValueError(f"{_CALL}(): expected keys or patterns; there is nothing to hide")
    if not isinstance(replace_with, str):
        raise TypeError(
            f"{_CALL}(replace_with={replace_with!r}): expected a str, "
            f"got {type(replace_with).__name__}"
        )
    expressions = [pattern.pattern for pattern in found]
    text = f"{_CALL}(keys={list(hidden)!r}, patterns={expressions!r})"
    return ReadyProcessor(text, _Redact(Redactor(hidden, found, replace_with)))


def _several(patterns: Any) -> Iterable[Any]:
    if isinstance(patterns, str | re.Pattern) or not isinstance(patterns, Iterable):
        raise TypeError(
            f"{_CALL}(patterns={patterns!r}): expected a list of regular expressions, "
            f"got {type(patterns).__name__}"
        )
    return patterns


def _compiled(pattern: Any) -> re.Pattern[str]:
    try:
        made = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"{_CALL}(patterns=[{pattern!r}]): expected a regular expression: {error}"
        ) from None
    except TypeError:
        raise TypeError(
            f"{_CALL}(patterns=[{pattern!r}]): expected a regular expression, "
            f"got {type(pattern).__name__}"
        ) from None
    if isinstance(made.pattern, bytes):
        raise TypeError(f"{_CALL}(patterns=[{pattern!r}]): expected a pattern of str, not of bytes")
    if made.search(""):
        raise ValueError(
            f"{_CALL}(patterns=[{pattern!r}]): expected a pattern that needs a letter; "
            "this one finds the empty text everywhere"
        )
    return made


class _Redact:
    __slots__ = ("_redactor",)

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, data: TelemetryData) -> TelemetryData:
        payload = data.to_bytes()
        if not self._may_be_in(payload):
            return data
        redactor = self._redactor.message
        if data.signal is Signal.PROFILES:  # a profile has nothing but indices
            table = _Table(redactor)
            made = rewrite(
                data.signal,
                payload,
                resource=table.message,
                scope=table.message,
                dictionary=table.dictionary,
            )
        else:
            made = rewrite(
                data.signal,
                payload,
                resource=redactor,
                scope=redactor,
                metric=redactor if data.signal is Signal.METRICS else None,
                record=self._record,
            )
        return data if made is payload else data.derive(made)

    def _record(self, view: RecordView) -> bytes:
        raw = view.to_bytes()
        if not self._may_be_in(raw):
            return raw
        message, needles = view.message, self._redactor.needles
        seen, changed = 0, False
        if needles is not None:
            seen, changed = self._redactor.attributes(message.attributes)
        # As often as it is in the bytes, and more often no key can be anywhere in the record.
        if needles is None or seen < sum(map(raw.count, needles)):
            changed |= self._redactor.message(message)
        made: bytes = message.SerializeToString() if changed else raw
        return made

    def _may_be_in(self, raw: bytes) -> bool:
        needles = self._redactor.needles
        return needles is None or any(needle in raw for needle in needles)


class _Table:
    """One request's string table, whose texts change when all else has been looked at.

    A text may be a value in one place and a key in another, and a key that was hidden would
    hide nothing any more.
    """

    __slots__ = ("_hidden", "_redact", "_strings")

    def __init__(self, redact: Change) -> None:
        self._redact = redact
        self._strings: Any = ()
        self._hidden: dict[int, str] = {}

    def __getitem__(self, index: int) -> str:
        text: str = self._strings[index]
        return text

    def __setitem__(self, index: int, text: str) -> None:
        self._hidden[index] = text

    def message(self, message: Any, strings: Any) -> bool:
        """Redact one message."""
        self._strings = strings
        return self._redact(message, self)

    def dictionary(self, dictionary: Any, strings: Any) -> bool:
        """Redact the dictionary, and put the texts in place of those that are to be hidden."""
        changed = self.message(dictionary, strings)
        for index, text in self._hidden.items():
            strings[index] = text
        return changed
