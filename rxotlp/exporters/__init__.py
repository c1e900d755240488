"""Exporters: where telemetry leaves the process.

The OTLP ones are loaded when they are first asked for: their HTTP and gRPC clients take
longer to import than everything else together, and a program that writes files, or a
command that shows its help, needs neither.
"""

import importlib
from typing import TYPE_CHECKING, Any

from rxotlp.exporters.base import Exporter
from rxotlp.exporters.console import Console
from rxotlp.exporters.file import File
from rxotlp.exporters.memory import Memory

if TYPE_CHECKING:
    from rxotlp.exporters.otlp_grpc import OtlpGrpc
    from rxotlp.exporters.otlp_http import OtlpHttp

__all__ = ["Console", "Exporter", "File", "Memory", "OtlpGrpc", "OtlpHttp"]

_LATER = {"OtlpGrpc": "rxotlp.exporters.otlp_grpc", "OtlpHttp": "rxotlp.exporters.otlp_http"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_LATER[name]), name)
    globals()[name] = found
    return found
