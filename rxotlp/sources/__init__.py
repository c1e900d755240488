"""Sources: where telemetry enters a pipeline."""

from rxotlp.sources.base import Source
from rxotlp.sources.iterable import IterableSource, from_iterable
from rxotlp.sources.otlp import OtlpSource, otlp

__all__ = ["IterableSource", "OtlpSource", "Source", "from_iterable", "otlp"]
