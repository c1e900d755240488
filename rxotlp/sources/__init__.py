"""Sources: where telemetry enters a pipeline."""

from rxotlp.sources.base import Source
from rxotlp.sources.file import FileSource, file
from rxotlp.sources.generate import GenerateSource, generate
from rxotlp.sources.iterable import IterableSource, from_iterable
from rxotlp.sources.otlp import OtlpSource, otlp

__all__ = [
    "FileSource",
    "GenerateSource",
    "IterableSource",
    "OtlpSource",
    "Source",
    "file",
    "from_iterable",
    "generate",
    "otlp",
]
