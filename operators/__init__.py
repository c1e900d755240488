"""The operators, one file each; imported as `rxotlp.operators`.

from rxotlp import operators as ops
"""

from rxotlp.operators._limits import Limit
from rxotlp.operators._selector import Selector
from rxotlp.operators.adaptive import AdaptiveConcurrency, adaptive_concurrency
from rxotlp.operators.balancing import consistent_hash, round_robin, weighted
from rxotlp.operators.batch import batch
from rxotlp.operators.broadcast import broadcast
from rxotlp.operators.chain import chain
from rxotlp.operators.circuit_breaker import circuit_breaker
from rxotlp.operators.discarding import discarding
from rxotlp.operators.execute import execute
from rxotlp.operators.export import Delivery, Retry, export
from rxotlp.operators.failover import failover
from rxotlp.operators.log import log
from rxotlp.operators.map_columns import map_columns
from rxotlp.operators.measure import Measured, Meter, measure
from rxotlp.operators.mirror import mirror
from rxotlp.operators.parallel import parallel
from rxotlp.operators.queue import queue
from rxotlp.operators.rate_limit import rate_limit
from rxotlp.operators.records import filter_records, map_records
from rxotlp.operators.route import route
from rxotlp.operators.sample_ratio import sample_ratio
from rxotlp.operators.scatter_gather import scatter_gather
from rxotlp.operators.selectors import (
    by_attribute,
    by_metadata,
    by_resource,
    by_scope,
    first_match,
)
from rxotlp.operators.single_records import collect, records
from rxotlp.operators.split_by import split_by
from rxotlp.operators.time_limit import time_limit
from rxotlp.operators.wire_tap import wire_tap

__all__ = [
    "AdaptiveConcurrency",
    "Delivery",
    "Limit",
    "Measured",
    "Meter",
    "Retry",
    "Selector",
    "adaptive_concurrency",
    "batch",
    "broadcast",
    "by_attribute",
    "by_metadata",
    "by_resource",
    "by_scope",
    "chain",
    "circuit_breaker",
    "collect",
    "consistent_hash",
    "discarding",
    "execute",
    "export",
    "failover",
    "filter_records",
    "first_match",
    "log",
    "map_columns",
    "map_records",
    "measure",
    "mirror",
    "parallel",
    "queue",
    "rate_limit",
    "records",
    "round_robin",
    "route",
    "sample_ratio",
    "scatter_gather",
    "split_by",
    "time_limit",
    "weighted",
    "wire_tap",
]
