# gateway.py
import reactivex as rx

from rxotlp import Signal, exporters, sources
from rxotlp import operators as ops

backend = rx.compose(ops.batch(), ops.export(exporters.OtlpHttp()))  # OTEL_EXPORTER_OTLP_*
archive = ops.export(exporters.File("logs.jsonl"), name="archive")

pipeline = sources.otlp().pipe(  # gRPC on 4317, HTTP on 4318
    ops.filter_records(lambda span: span.name != "GET /healthz", signal=Signal.TRACES),
    ops.route("signal", {Signal.LOGS: archive}, default=backend),
)  # each sender hears what became of its data
