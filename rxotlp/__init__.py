"""Reactive stream processing for OpenTelemetry data.

The packages `exporters`, `operators`, `schedulers` and `sources` are imported by those who
use them (`from rxotlp import exporters, operators as ops, sources`), so that an application
does not load a gRPC server to batch.
"""

import logging

from rxotlp._core.interpreter import require_reference_counts
from rxotlp._core.outcomes import DELIVERED, FILTERED, Cause, Outcome, dropped, failed, rejected
from rxotlp.admission import Admission
from rxotlp.data import Signal, TelemetryData
from rxotlp.drain import Report
from rxotlp.errors import OtlpError
from rxotlp.lines import guard
from rxotlp.memory_limit import MemoryLimit
from rxotlp.pipeline import Pipeline
from rxotlp.receipt import Receipt
from rxotlp.schedulers import AsyncScheduler, SyncScheduler, VirtualScheduler

__all__ = [
    "DELIVERED",
    "FILTERED",
    "Admission",
    "AsyncScheduler",
    "Cause",
    "MemoryLimit",
    "OtlpError",
    "Outcome",
    "Pipeline",
    "Receipt",
    "Report",
    "Signal",
    "SyncScheduler",
    "TelemetryData",
    "VirtualScheduler",
    "dropped",
    "failed",
    "rejected",
]

require_reference_counts()
guard(logging.getLogger("rxotlp"))  # before anybody can log
