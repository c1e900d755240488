"""Operations, and flows that execute them: control, execution and data.

Executing operations makes real OTLP, on the flow's own `telemetry` stream, so a program
turns any stream of events into traces and metrics without an SDK.
"""

from rxotlp.flows.context import ExecutionContext, TraceContext
from rxotlp.flows.control import AsyncControlFlow, SyncControlFlow
from rxotlp.flows.data import AsyncDataFlow, HybridDataFlow, SyncDataFlow
from rxotlp.flows.data_routing import DataRoute, DataRouter, Priority
from rxotlp.flows.events import ControlEvent, EventKind
from rxotlp.flows.execution import (
    ParallelExecutionFlow,
    RecursiveExecutionFlow,
    SequentialExecutionFlow,
)
from rxotlp.flows.hybrid import HybridControlFlow
from rxotlp.flows.log import FlowLog, LogEntry, LogLevel
from rxotlp.flows.loggers import (
    ControlDecision,
    ControlFlowLogger,
    DataFlowLogger,
    ExecutionFlowLogger,
)
from rxotlp.flows.operations import (
    AddSpan,
    BatchProcessing,
    Call,
    ComplexTrace,
    EndTrace,
    HighLatency,
    Metric,
    MetricKind,
    NestedTrace,
    NonBlocking,
    Operation,
    RecordMetric,
    RecursiveMetric,
    SpanKind,
    SpanStatus,
    StartTrace,
)
from rxotlp.flows.organizers import (
    ConditionalNode,
    ControlFlowOrganizer,
    DataFlowOrganizer,
    DataFlowState,
    DataProcessor,
    ExecutionFlowOrganizer,
    ExecutionPhase,
    ExecutionState,
    ExecutionType,
    LoopNode,
    OperationNode,
    Phases,
)
from rxotlp.flows.results import ExecutionResult
from rxotlp.flows.routing import FlowRouter, FlowType
from rxotlp.flows.state import ControlState, Statistics
from rxotlp.flows.strategy import (
    ExecutionMode,
    OperationClassifier,
    OperationType,
    PerformanceThresholds,
    SyncAsyncSelectionStrategy,
    SystemLoad,
)

__all__ = [
    "AddSpan",
    "AsyncControlFlow",
    "AsyncDataFlow",
    "BatchProcessing",
    "Call",
    "ComplexTrace",
    "ConditionalNode",
    "ControlDecision",
    "ControlEvent",
    "ControlFlowLogger",
    "ControlFlowOrganizer",
    "ControlState",
    "DataFlowLogger",
    "DataFlowOrganizer",
    "DataFlowState",
    "DataProcessor",
    "DataRoute",
    "DataRouter",
    "EndTrace",
    "EventKind",
    "ExecutionContext",
    "ExecutionFlowLogger",
    "ExecutionFlowOrganizer",
    "ExecutionMode",
    "ExecutionPhase",
    "ExecutionResult",
    "ExecutionState",
    "ExecutionType",
    "FlowLog",
    "FlowRouter",
    "FlowType",
    "HighLatency",
    "HybridControlFlow",
    "HybridDataFlow",
    "LogEntry",
    "LogLevel",
    "LoopNode",
    "Metric",
    "MetricKind",
    "NestedTrace",
    "NonBlocking",
    "Operation",
    "OperationClassifier",
    "OperationNode",
    "OperationType",
    "ParallelExecutionFlow",
    "PerformanceThresholds",
    "Phases",
    "Priority",
    "RecordMetric",
    "RecursiveExecutionFlow",
    "RecursiveMetric",
    "SequentialExecutionFlow",
    "SpanKind",
    "SpanStatus",
    "StartTrace",
    "Statistics",
    "SyncAsyncSelectionStrategy",
    "SyncControlFlow",
    "SyncDataFlow",
    "SystemLoad",
    "TraceContext",
]
