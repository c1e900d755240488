"""Sources: where telemetry enters a pipeline."""

from rxotlp.security import BasicAuth, BearerAuth, Tls
from rxotlp.sources.base import Source
from rxotlp.sources.file import FileSource, file
from rxotlp.sources.generate import GenerateSource, generate
from rxotlp.sources.iterable import IterableSource, from_iterable
from rxotlp.sources.otlp import OtlpSource, otlp

__all__ = [
    "BasicAuth",
    "BearerAuth",
    "FileSource",
    "GenerateSource",
    "IterableSource",
    "OtlpSource",
    "Source",
    "Tls",
    "file",
    "from_iterable",
    "generate",
    "otlp",
]
