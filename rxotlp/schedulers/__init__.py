"""Serial executors with a clock: one turn at a time, whoever runs it (design, section 7)."""

from rxotlp._core.adjusting import AdjustmentSettings, Decision, Metrics, PriorityClass
from rxotlp.schedulers.aio import AsyncScheduler
from rxotlp.schedulers.base import SerialScheduler
from rxotlp.schedulers.controller import AdjustmentController
from rxotlp.schedulers.default import default_scheduler
from rxotlp.schedulers.dynamic import DynamicScheduler
from rxotlp.schedulers.executor import Statistics
from rxotlp.schedulers.monitor import PerformanceMonitor
from rxotlp.schedulers.plot import plot_decisions
from rxotlp.schedulers.replay import read_series, replay, write_series
from rxotlp.schedulers.scheduled_task import Attempt, ScheduledTask, TaskCancelled
from rxotlp.schedulers.sync import SyncScheduler
from rxotlp.schedulers.task import TaskScheduler
from rxotlp.schedulers.task_config import SchedulerConfig, TaskStatistics
from rxotlp.schedulers.virtual import VirtualScheduler
from rxotlp.schedulers.workers import WorkerPool

__all__ = [
    "AdjustmentController",
    "AdjustmentSettings",
    "AsyncScheduler",
    "Attempt",
    "Decision",
    "DynamicScheduler",
    "Metrics",
    "PerformanceMonitor",
    "PriorityClass",
    "ScheduledTask",
    "SchedulerConfig",
    "SerialScheduler",
    "Statistics",
    "SyncScheduler",
    "TaskCancelled",
    "TaskScheduler",
    "TaskStatistics",
    "VirtualScheduler",
    "WorkerPool",
    "default_scheduler",
    "plot_decisions",
    "read_series",
    "replay",
    "write_series",
]
