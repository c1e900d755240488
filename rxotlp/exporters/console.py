"""`Console`: telemetry for people, on a terminal or in a log of the process.

Telemetry is somebody else's text: control characters are escaped, so that no span name can
clear the screen or forge a line.
"""

import sys
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any, Literal, TextIO, get_args

from reactivex import abc

from rxotlp._core.outcomes import DELIVERED, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.exporters.base import Exporter
from rxotlp.wire.signals import Signal

__all__ = ["Console"]

Verbosity = Literal["basic", "detailed"]


class Console(Exporter):
    """Writes one line for each element or, if asked, for each record too.

    Args:
        stream: where to write; None means sys.stdout as it is at each export.
        verbosity: "basic" (an element a line) or "detailed" (then a record a line, with its
            attributes).
    """

    destination = "console"

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        verbosity: Verbosity = "basic",
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        super().__init__(scheduler=scheduler)
        if verbosity not in get_args(Verbosity):
            raise ValueError(f"Console(verbosity={verbosity!r}): expected 'basic' or 'detailed'")
        self._stream = stream
        self._detailed = verbosity == "detailed"
        self._lock = Lock()

    def export(self, data: TelemetryData) -> Outcome:
        """Write and flush; a stream that cannot be written to is a retryable failure."""
        try:
            text = "".join(f"{line}\n" for line in self._lines(data))
        except (DecodeError, IndexError) as error:  # IndexError: past a profile's string table
            return rejected(f"console: {_plain(error)}")
        stream = self._stream if self._stream is not None else sys.stdout
        try:
            with self._lock:
                stream.write(text)
                stream.flush()
        except (OSError, ValueError) as error:  # ValueError: it is closed
            return failed(f"console: {error}")
        return DELIVERED

    def _lines(self, data: TelemetryData) -> Iterator[str]:
        names = data.signal.names
        items = data.items
        noun = names.item if items == 1 else names.items
        yield f"{data.signal.value}: {items} {noun}, {data.size} bytes"
        if self._detailed:
            describe = _DESCRIBE[data.signal]
            for record in data.records():
                service = record.resource.attributes.get("service.name")
                where = "" if service is None else f"{_plain(service)}: "
                yield f"  {where}{describe(record)}{_attributes(record)}"


def _span(span: Any) -> str:
    milliseconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
    status = " ERROR" if span.status.code == 2 else ""  # Status.STATUS_CODE_ERROR
    return f"{_plain(span.name)} {milliseconds:.3f} ms{status} trace={span.trace_id.hex()}"


def _point(point: Any) -> str:
    metric = point.metric
    kind = metric.WhichOneof("data")
    if kind in ("gauge", "sum"):
        value = point.as_double if point.HasField("as_double") else point.as_int
    else:
        value = f"count={point.count} sum={point.sum}"
    unit = f" {_plain(metric.unit)}" if metric.unit else ""
    return f"{_plain(metric.name)} = {value}{unit}"


def _log_record(record: Any) -> str:
    severity = record.severity_text or str(record.severity_number)
    body = "" if record.body is None else record.body
    return f"{_plain(severity)} {_plain(body)}"


def _profile(profile: Any) -> str:
    return f"profile {profile.profile_id.hex()}"


_DESCRIBE = {
    Signal.TRACES: _span,
    Signal.METRICS: _point,
    Signal.LOGS: _log_record,
    Signal.PROFILES: _profile,
}


def _attributes(record: Any) -> str:
    attributes: Mapping[str, object] = record.attributes
    return "".join(f" {_plain(key)}={_plain(value)}" for key, value in attributes.items())


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
