"""Compare variants of a pipeline on the same telemetry: what each costs, and whether it differs.

    from rxotlp.bench import compare

    result = compare({"small": ops.batch(max_items=512), "large": ops.batch()}, "traces")
    print(result)
    result.save("batches.svg")

`rxotlp bench MODULE:VARIANTS` does the same from the command line, and the fixture
`compare_pipelines` of `rxotlp.bench.pytest_plugin` in a test-suite.
"""

from rxotlp.bench.grid import Variant, Variants, variants
from rxotlp.bench.progress import Progress
from rxotlp.bench.results import Comparison, Figure, Measured, Run, Spread
from rxotlp.bench.rounds import compare
from rxotlp.bench.verdicts import Difference
from rxotlp.bench.work import Workload, workload

__all__ = [
    "Comparison",
    "Difference",
    "Figure",
    "Measured",
    "Progress",
    "Run",
    "Spread",
    "Variant",
    "Variants",
    "Workload",
    "compare",
    "variants",
    "workload",
]
