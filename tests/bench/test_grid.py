"""Variants, and grids of them."""

from typing import Any

import pytest
import reactivex as rx

from rxotlp import AsyncScheduler, Pipeline, SyncScheduler, VirtualScheduler
from rxotlp import operators as ops
from rxotlp.bench import Variant, variants


def test_a_grid_has_every_combination_under_a_name_that_says_which() -> None:
    """What is the same in all of them is not in the names."""
    seen: list[tuple[int, bool]] = []

    @variants(scheduler=["sync", "async"], max_items=[512, 8192], fused=[True])
    def grid(source: Any, max_items: int, fused: bool) -> Any:
        seen.append((max_items, fused))
        return source

    assert list(grid) == [
        "sync, max_items=512",
        "sync, max_items=8192",
        "async, max_items=512",
        "async, max_items=8192",
    ]
    last = grid["async, max_items=8192"]
    assert (last.scheduler, last.choices) == ("async", {"max_items": 8192, "fused": True})
    last.pipeline(rx.never())
    assert seen == [(8192, True)]


def test_classes_and_functions_are_named_by_their_names() -> None:
    """An address in a table tells nobody anything."""

    @variants(scheduler=[SyncScheduler, AsyncScheduler])
    def grid(source: Any) -> Any:
        return source

    assert list(grid) == ["SyncScheduler", "AsyncScheduler"]
    assert list(variants()(lambda source: source)) == ["<lambda>"]


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"max_items": []}, "expected a value or more"),
        ({"max_items": [1, 1]}, "1 twice"),
        ({"nothing": [1]}, "cannot be called with a source and these"),
        ({"scheduler": ["threads"]}, "expected one of sync, async"),
        ({"scheduler": [VirtualScheduler]}, "virtual time has no speed"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_where_it_is_written(
    choices: dict[str, Any], says: str
) -> None:
    """Not after a minute of measuring."""
    with pytest.raises(ValueError, match=says):

        @variants(**choices)
        def grid(source: Any, max_items: int = 1) -> Any:
            return source


@pytest.mark.parametrize("choices", [{"max_items": 512}, {"scheduler": "sync"}])
def test_values_come_in_lists(choices: dict[str, Any]) -> None:
    """The letters of "sync" are no schedulers."""
    with pytest.raises(TypeError, match="expected a list of values"):
        variants(**choices)


def test_what_is_no_pipeline_function_is_refused() -> None:
    """The usual slips: a stream with a source of its own, the class of an operator."""
    for given in (rx.never(), Pipeline(rx.never()), 7, SyncScheduler):
        with pytest.raises(TypeError, match=r"expected a function \(source\) -> stream"):
            Variant(given)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="every run has its own"):
        Variant(ops.batch(), SyncScheduler())  # type: ignore[arg-type]
