"""Exporters: where telemetry leaves the process."""

from rxotlp.exporters.base import Exporter
from rxotlp.exporters.console import Console
from rxotlp.exporters.file import File
from rxotlp.exporters.memory import Memory
from rxotlp.exporters.otlp_grpc import OtlpGrpc
from rxotlp.exporters.otlp_http import OtlpHttp

__all__ = ["Console", "Exporter", "File", "Memory", "OtlpGrpc", "OtlpHttp"]
