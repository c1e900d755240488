"""The fixture `compare_pipelines`: a comparison inside a test-suite.

    # conftest.py
    pytest_plugins = ["rxotlp.bench.pytest_plugin"]

    # test_speed.py
    def test_fusing_pays(compare_pipelines):
        result = compare_pipelines({"apart": apart, "fused": fused}, "traces", time=20)
        assert result.difference("fused").ratio < 1.05

It is no entry point: a suite that has nothing to do with it must not load rxotlp for it.
With pytest-benchmark its switches hold: skipped by `--benchmark-skip`, run once at tiny size
by `--benchmark-disable`, and all figures are in the `extra_info` of its JSON (its own row is
how long the comparison took). Tables are printed at the end of the session.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from rxotlp.bench import Comparison

__all__ = ["ComparePipelines", "pytest_configure", "pytest_terminal_summary"]

TINY = 2048  # items of a run that only shows that it can run

_KEPT: "pytest.StashKey[list[tuple[str, Comparison]]]" = pytest.StashKey()


class ComparePipelines(Protocol):
    """What the fixture is: `compare`, for type checkers."""

    def __call__(
        self, variants: Mapping[str, Any], work: Any = None, **options: Any
    ) -> "Comparison":
        """Compare, and fail the test when a variant fails."""


def pytest_configure(config: pytest.Config) -> None:
    """Choose the fixture's kind: with pytest-benchmark, or by itself."""
    config.stash[_KEPT] = []
    with_benchmark = config.pluginmanager.hasplugin("benchmark")
    config.pluginmanager.register(
        _WithBenchmark() if with_benchmark else _Alone(), "rxotlp-bench-fixture"
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what was found."""
    for test, found in config.stash[_KEPT]:
        terminalreporter.section(f"compare_pipelines: {test}")
        terminalreporter.write(str(found))


class _Alone:
    @pytest.fixture
    def compare_pipelines(self, request: pytest.FixtureRequest) -> ComparePipelines:
        """Compare variants of a pipeline; see `rxotlp.bench.compare`."""

        def run(variants: Mapping[str, Any], work: Any = None, **options: Any) -> "Comparison":
            return _compare(request, variants, work, options)

        return run


class _WithBenchmark:
    @pytest.fixture
    def compare_pipelines(self, request: pytest.FixtureRequest, benchmark: Any) -> ComparePipelines:
        """Compare variants of a pipeline; see `rxotlp.bench.compare`."""

        def run(variants: Mapping[str, Any], work: Any = None, **options: Any) -> "Comparison":
            if not benchmark.enabled:
                from rxotlp.bench import Workload, workload

                made = work if isinstance(work, Workload) else workload(work or "traces")
                work = Workload(made.name, made.elements, items=TINY)
                options = {**options, "runs": 1}
            found: Comparison = benchmark.pedantic(
                _compare, args=(request, variants, work, options), rounds=1, iterations=1
            )
            benchmark.extra_info["compare_pipelines"] = found.to_dict()
            return found

        return run


def _compare(
    request: pytest.FixtureRequest,
    variants: Mapping[str, Any],
    work: Any,
    options: Mapping[str, Any],
) -> "Comparison":
    from rxotlp.bench import compare

    found = compare(variants, work, **{"progress": False, **options})
    request.config.stash[_KEPT].append((request.node.nodeid, found))
    if found.interrupted:
        raise KeyboardInterrupt
    failed = [f"{name}: {one.problem}" for name, one in found.variants.items() if one.problem]
    if failed:
        pytest.fail("; ".join(failed), pytrace=False)
    return found
