# instrumented.py
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from rxotlp import operators as ops
from rxotlp.sdk import BatchSpanProcessor


def redact(span: Any) -> None:
    for attribute in span.attributes:
        if attribute.key == "user.password":
            attribute.value.string_value = "[redacted]"


provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ops.map_records(redact)))

with provider.get_tracer("shop").start_as_current_span("POST /login") as span:
    span.set_attribute("user.password", "hunter2")
