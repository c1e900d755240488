"""A backend to switch off and on, and providers that are shut down."""

import threading
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider

from rxotlp import exporters
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import TelemetryData
from rxotlp.sdk import BatchSpanProcessor


class Backend(exporters.Memory):
    """Answers with `answer`, which may be changed; `gate` makes it hang while it is closed."""

    blocking = True

    def __init__(self) -> None:
        super().__init__(outcome=self._now)
        self.answer: Outcome = DELIVERED
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Semaphore(0)

    def _now(self, data: TelemetryData) -> Outcome:
        self.asked.release()
        self.gate.wait(60)
        return self.answer

    @property
    def names(self) -> list[str]:
        """Names of the spans it took, in order."""
        return [record.name for record in self.records()]


@pytest.fixture(name="backend")
def _backend() -> Iterator[Backend]:
    """A backend in the same process."""
    backend = Backend()
    yield backend
    backend.gate.set()


@pytest.fixture(name="provide")
def _provide() -> Iterator[Callable[[BatchSpanProcessor], TracerProvider]]:
    """Make a provider around a processor, shut down at the end."""
    made: list[TracerProvider] = []

    def provide(processor: BatchSpanProcessor) -> TracerProvider:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        made.append(provider)
        return provider

    yield provide
    for provider in made:
        provider.shutdown()
