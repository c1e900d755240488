"""The operators, one file each; imported as `rxotlp.operators`.

from rxotlp import operators as ops
"""

from rxotlp.operators.batch import batch
from rxotlp.operators.broadcast import broadcast
from rxotlp.operators.chain import chain
from rxotlp.operators.export import Delivery, export
from rxotlp.operators.parallel import parallel
from rxotlp.operators.queue import queue
from rxotlp.operators.records import filter_records, map_records
from rxotlp.operators.route import route
from rxotlp.operators.split_by import split_by

__all__ = [
    "Delivery",
    "batch",
    "broadcast",
    "chain",
    "export",
    "filter_records",
    "map_records",
    "parallel",
    "queue",
    "route",
    "split_by",
]
