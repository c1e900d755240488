"""What the conformance tests share: each transport, a gateway, a clean environment.

A row's tests run over real sockets. Where a client is needed it is opentelemetry-sdk's own
exporter; where an answer must be seen in full it is `tests.support.senders`; where a backend
must misbehave it is `tests.support.scripted`.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from reactivex import Observable

from rxotlp import Pipeline, exporters, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import TelemetryData
from tests.support.scripted import TRANSPORTS


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test must depend on what the machine's environment says."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _quiet_sdk() -> Iterator[None]:
    """The SDK's exporters log what the tests make fail."""
    logger = logging.getLogger("opentelemetry")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """Over each transport."""
    return str(request.param)


class Server:
    """The receiver under test.

    Attributes:
        outcome: what becomes of every element.
        memory: what was taken.
    """

    def __init__(self, pipeline: Pipeline, memory: exporters.Memory) -> None:
        self.pipeline = pipeline
        self.memory = memory
        self.outcome: Outcome = DELIVERED

    def decide(self, _data: TelemetryData) -> Outcome:
        return self.outcome

    @property
    def addresses(self) -> dict[str, str]:
        """Where it listens."""
        return self.pipeline.addresses

    @property
    def seen(self) -> list[TelemetryData]:
        """What it took."""
        return self.memory.elements


@contextmanager
def _serving(**arguments: Any) -> Iterator[Server]:
    memory = exporters.Memory(outcome=lambda data: server.decide(data))
    stream = sources.otlp(**{"grpc": "127.0.0.1:0", "http": "127.0.0.1:0"} | arguments)
    pipeline = Pipeline(stream.pipe(ops.export(memory, retry=None)))
    server = Server(pipeline, memory)
    with pipeline:
        yield server
    assert pipeline.report is not None
    assert pipeline.report.unbalanced == []
    assert pipeline.books.held == 0


@pytest.fixture
def serving() -> Callable[..., Any]:
    """`with serving(**arguments of sources.otlp) as server`; its books balance afterwards."""
    return _serving


@contextmanager
def _gateway(exporter: Any, *operators: Any, **arguments: Any) -> Iterator[Pipeline]:
    stream: Observable[Any] = sources.otlp(grpc="127.0.0.1:0", http="127.0.0.1:0")
    for operator in (*operators, ops.export(exporter, **arguments)):
        stream = operator(stream)
    pipeline = Pipeline(stream)
    with pipeline:
        yield pipeline
    assert pipeline.report is not None
    assert pipeline.report.unbalanced == []
    assert pipeline.books.held == 0


@pytest.fixture
def gateway() -> Callable[..., Any]:
    """`with gateway(exporter, *operators, **arguments of ops.export) as pipeline`."""
    return _gateway


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What rxotlp has logged so far, at warning or worse."""
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.name == "rxotlp" and record.levelname in ("WARNING", "ERROR")
    ]
