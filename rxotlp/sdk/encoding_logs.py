"""The SDK's log records to the bytes of a request, equal to what its own encoder makes of them."""

from collections.abc import Sequence
from struct import Struct
from typing import Any

from opentelemetry._logs import SeverityNumber
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from rxotlp.sdk import encoding_reference as reference
from rxotlp.sdk.encoding_groups import Groups, framed, plain
from rxotlp.wire.pairs import Pairs, any_value
from rxotlp.wire.writing import Texts, tag, varint

__all__ = ["encode_logs"]

_groups = Groups(ExportLogsServiceRequest, ("resource_logs", "scope_logs", "log_records"))

_TRACE_ID = tag(LogRecord, "trace_id") + b"\x10"
_SPAN_ID = tag(LogRecord, "span_id") + b"\x08"
_TIME = tag(LogRecord, "time_unix_nano")
_OBSERVED = tag(LogRecord, "observed_time_unix_nano")
_FLAGS = tag(LogRecord, "flags")
_BODY = tag(LogRecord, "body")
_DROPPED = tag(LogRecord, "dropped_attributes_count")
_SEVERITIES = {
    severity.value: tag(LogRecord, "severity_number") + varint(severity.value)
    for severity in SeverityNumber
}

_severity_texts = Texts(LogRecord, "severity_text")
_event_names = Texts(LogRecord, "event_name")
_attributes = Pairs(LogRecord)

_fixed32 = Struct("<I").pack
_fixed64 = Struct("<Q").pack


def encode_logs(records: Sequence[Any]) -> bytes:
    """An encoded `ExportLogsServiceRequest`.

    Raises:
        Exception: the SDK's encoder raised it for a record.
    """
    return _groups.encode(records, _log, reference.log)


def _log(readable: Any) -> bytes:
    record = readable.log_record
    parts = [framed(_BODY, any_value(record.body))]
    if (time := record.timestamp) is not None:
        parts += (_TIME, _fixed64(time))
    if (time := record.observed_timestamp) is not None:
        parts += (_OBSERVED, _fixed64(time))
    if (severity := record.severity_number) is not None:
        parts.append(_SEVERITIES[severity._value_])
    if text := record.severity_text:
        parts.append(_severity_texts[text])
    if (attributes := record.attributes) is not None:
        _attributes.add(plain(attributes), parts)
    if (trace_id := record.trace_id) != 0:
        parts += (_TRACE_ID, trace_id.to_bytes(16, "big"))
    if (span_id := record.span_id) != 0:
        parts += (_SPAN_ID, span_id.to_bytes(8, "big"))
    if flags := int(record.trace_flags):
        parts += (_FLAGS, _fixed32(flags))
    if dropped := readable.dropped_attributes:
        parts += (_DROPPED, varint(dropped))
    if name := record.event_name:
        parts.append(_event_names[name])
    return b"".join(parts)
