"""Serial executors with a clock: one turn at a time, whoever runs it (design, section 7)."""

from rxotlp.schedulers.aio import AsyncScheduler
from rxotlp.schedulers.base import SerialScheduler
from rxotlp.schedulers.default import default_scheduler
from rxotlp.schedulers.executor import Statistics
from rxotlp.schedulers.sync import SyncScheduler
from rxotlp.schedulers.virtual import VirtualScheduler

__all__ = [
    "AsyncScheduler",
    "SerialScheduler",
    "Statistics",
    "SyncScheduler",
    "VirtualScheduler",
    "default_scheduler",
]
