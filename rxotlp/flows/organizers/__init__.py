"""Organizers: who is executed when, as phases, as a graph of nodes, or along data.

ExecutionFlowOrganizer   phases that depend on each other
ControlFlowOrganizer     nodes: operations, conditions and loops over a state
DataFlowOrganizer        processors that data goes through, some of them side by side
"""

from rxotlp.flows.organizers.control import ControlFlowOrganizer
from rxotlp.flows.organizers.data import DataFlowOrganizer, DataProcessor
from rxotlp.flows.organizers.nodes import ConditionalNode, LoopNode, OperationNode
from rxotlp.flows.organizers.phases import (
    ExecutionFlowOrganizer,
    ExecutionPhase,
    ExecutionType,
    Phases,
)
from rxotlp.flows.organizers.state import DataFlowState, ExecutionState

__all__ = [
    "ConditionalNode",
    "ControlFlowOrganizer",
    "DataFlowOrganizer",
    "DataFlowState",
    "DataProcessor",
    "ExecutionFlowOrganizer",
    "ExecutionPhase",
    "ExecutionState",
    "ExecutionType",
    "LoopNode",
    "OperationNode",
    "Phases",
]
