"""Use the installed wheel with its core dependencies only."""

import pathlib
import tempfile

import rxotlp
from rxotlp import Pipeline, Signal, TelemetryData, exporters, sources
from rxotlp import operators as ops

assert "site-packages" in (rxotlp.__file__ or ""), rxotlp.__file__
request = '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hello"}}]}]}]}'
data = TelemetryData.from_json(Signal.LOGS, request)
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "logs.jsonl"
    stream = sources.from_iterable([data, data]).pipe(
        ops.batch(), ops.export(exporters.File(str(path)))
    )
    with Pipeline(stream) as pipeline:
        assert pipeline.wait(30)
    assert path.read_text().count("hello") == 2
assert pipeline.report is not None
assert not pipeline.report.unbalanced, pipeline.report
