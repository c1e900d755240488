"""The second receiver of the demo, as `rxotlp run rxotlp.demo.backend:pipeline` runs it.

It writes what it gets to files, so that the demo can look at what really arrived.
"""

import os
from pathlib import Path

from rxotlp import exporters, sources
from rxotlp import operators as ops

__all__ = ["pipeline"]

folder = Path(os.environ.get("RXOTLP_DEMO_OUTPUT", "."))

pipeline = sources.otlp().pipe(ops.export(exporters.File(folder / "{signal}.jsonl")))
