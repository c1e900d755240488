"""A prefork web program under load, through an outage of its backend.

What the bridge is for, all at once: a provider made before the fork, workers that serve
requests while the backend is away, a SIGTERM at the end. Every request is one span, found
again by its path; what does not fit into a worker's buffer is counted by the worker.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import pytest

from rxotlp import Pipeline, exporters, sources
from rxotlp import operators as ops

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PROGRAM = """
import json, os, signal, socket, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry.sdk.trace import TracerProvider
from rxotlp.sdk import BatchSpanProcessor

processor = BatchSpanProcessor(
    max_queue_size=int(sys.argv[1]), max_export_batch_size=10, schedule_delay=0.01
)
provider = TracerProvider()
provider.add_span_processor(processor)
tracer = provider.get_tracer("web")

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        with tracer.start_as_current_span(self.path):
            self.send_response(200)
            self.end_headers()

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Handler)
server.socket.settimeout(0.05)
server.timeout = 0.05
running = True

def stop(*_):
    global running
    running = False

signal.signal(signal.SIGTERM, stop)
print(server.server_port, flush=True)
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        break
    children.append(child)
if children and len(children) == 2:
    while running:
        signal.sigtimedwait([], 0.05)
    for child in children:
        os.kill(child, signal.SIGTERM)
    for child in children:
        os.waitpid(child, 0)
else:
    while running:
        server.handle_request()
    provider.shutdown()
    os.write(1, (json.dumps(processor.statistics()._asdict()) + "\\n").encode())
"""


@pytest.mark.parametrize("room", [2048, 30], ids=["room for all", "little room"])
def test_every_request_is_a_span_at_the_backend_or_counted(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing twice, nothing lost without a number, in all processes together."""
    memory = exporters.Memory()
    first = Pipeline(sources.otlp(grpc=None, http="127.0.0.1:0").pipe(ops.export(memory)))
    first.start()
    address = first.addresses["http"]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(room)], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        port = int(program.stdout.readline())

        def visit(number: int) -> None:
            with urlopen(f"http://127.0.0.1:{port}/{number}", timeout=30) as answer:
                assert answer.status == 200

        try:
            with ThreadPoolExecutor(4) as visitors:
                list(visitors.map(visit, range(100)))
                first.stop()
                list(visitors.map(visit, range(100, 300)))
                with Pipeline(sources.otlp(grpc=None, http=address).pipe(ops.export(memory))):
                    list(visitors.map(visit, range(300, 400)))
                    program.send_signal(signal.SIGTERM)
                    lines = program.stdout.read().splitlines()
        finally:
            program.terminate()
    workers = [json.loads(line) for line in lines]
    total: Counter[str] = sum((Counter(worker) for worker in workers), Counter())
    names = Counter(record.name for record in memory.records())
    assert len(workers) == 2
    assert total["received"] == 400
    assert total["received"] == total["succeeded"] + total["dropped"] + total["given_up"]
    assert total["succeeded"] == sum(names.values())
    assert set(names.values()) == {1}
    if room == 2048:
        assert names.keys() == {f"/{number}" for number in range(400)}
    else:
        assert total["dropped"] > 0
