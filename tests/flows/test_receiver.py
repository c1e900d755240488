"""What operations make is OTLP to others: protobuf classes, the wire, a real receiver."""

import asyncio
from typing import Any, Literal

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from rxotlp import exporters, sources
from rxotlp import operators as ops
from rxotlp.data import Signal
from rxotlp.flows import (
    AddSpan,
    AsyncControlFlow,
    BatchProcessing,
    ControlState,
    EndTrace,
    Metric,
    MetricKind,
    RecordMetric,
    SpanKind,
    SpanStatus,
    StartTrace,
)
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import SyncScheduler

ORDER = BatchProcessing(
    [
        StartTrace("order", {"shop": "berlin"}, kind=SpanKind.SERVER),
        AddSpan(None, "pay", {"amount": 12.5}, kind=SpanKind.CLIENT),
        EndTrace(status=SpanStatus.ERROR, message="card refused"),
        RecordMetric(Metric("orders", 2, unit="{order}")),
        RecordMetric(Metric("orders", 3, unit="{order}")),
        RecordMetric(Metric("open", 7, kind=MetricKind.GAUGE)),
        RecordMetric(Metric("took", 30, kind=MetricKind.HISTOGRAM, unit="ms")),
        EndTrace(),
    ]
)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_receiver_takes_all_of_it_and_shows_it_as_it_is(
    protocol: Literal["grpc", "http"],
) -> None:
    """Over a real socket, every record checked, none rejected."""
    free = "127.0.0.1:0"
    kept = exporters.Memory()
    receiver = sources.otlp(
        grpc=free if protocol == "grpc" else None, http=free if protocol == "http" else None
    )
    backend = Pipeline(receiver.pipe(ops.export(kept)))
    backend.start()
    try:
        url = f"http://{receiver.addresses[protocol]}"
        exporter: Any = exporters.OtlpGrpc(url) if protocol == "grpc" else exporters.OtlpHttp(url)
        with SyncScheduler() as scheduler:
            state = ControlState(scheduler=scheduler, resource={"service.name": "shop"})
            flow = AsyncControlFlow(state=state)
            program = Pipeline(flow.telemetry.pipe(ops.export(exporter)), scheduler=scheduler)
            program.start()
            flow.execute(ORDER)
            assert program.stop().unbalanced == []
            assert flow.statistics().undelivered == 0
    finally:
        backend.stop()
    payloads = {data.signal: data.to_bytes() for data in kept.elements}
    traces = ExportTraceServiceRequest.FromString(payloads[Signal.TRACES])
    metrics = ExportMetricsServiceRequest.FromString(payloads[Signal.METRICS])

    (group,) = traces.resource_spans
    assert [(one.key, one.value.string_value) for one in group.resource.attributes] == [
        ("service.name", "shop")
    ]
    assert group.scope_spans[0].scope.name == "rxotlp.flows"
    spans = {span.name: span for span in group.scope_spans[0].spans}
    order: Any = spans["order"]
    pay: Any = spans["pay"]
    assert pay.parent_span_id == order.span_id
    assert pay.trace_id == order.trace_id
    assert (len(pay.trace_id), len(pay.span_id)) == (16, 8)
    assert order.start_time_unix_nano <= pay.start_time_unix_nano <= pay.end_time_unix_nano
    assert (pay.status.code, pay.status.message) == (SpanStatus.ERROR, "card refused")
    assert (order.kind, pay.kind) == (SpanKind.SERVER, SpanKind.CLIENT)

    made = {one.name: one for one in metrics.resource_metrics[0].scope_metrics[0].metrics}
    assert made["orders"].sum.data_points[0].as_int == 5
    assert made["orders"].sum.is_monotonic
    assert made["open"].gauge.data_points[0].as_int == 7
    assert made["took"].histogram.data_points[0].count == 1


def test_a_flow_awaited_on_a_loop_delivers_too() -> None:
    """The same without a thread."""

    async def run() -> int:
        from rxotlp.schedulers import AsyncScheduler

        async with AsyncScheduler() as scheduler:
            flow = AsyncControlFlow(scheduler=scheduler)
            names: list[str] = []
            flow.telemetry.subscribe(lambda data: names.extend(one.name for one in data.records()))
            await flow.aexecute(ORDER)
            await asyncio.sleep(0)
            return len(names)

    assert asyncio.run(run()) == 2
