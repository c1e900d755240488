"""Use the installed wheel's gateway: a request in over HTTP, its records at an exporter."""

import urllib.request

from rxotlp import Pipeline, exporters, sources
from rxotlp import operators as ops

memory = exporters.Memory()
stream = sources.otlp(grpc="127.0.0.1:0", http="127.0.0.1:0").pipe(ops.export(memory))
with Pipeline(stream) as pipeline:
    request = urllib.request.Request(
        f"http://{pipeline.addresses['http']}/v1/logs",
        data=b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}',
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200, answer.status
assert sum(element.items for element in memory.elements) == 1
