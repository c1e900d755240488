"""The batching decisions, held against the rules their module states."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.batching import Batch, Batcher, Reason

Element = tuple[int, int]  # (identity of the first item, items); one byte an item


def batcher(max_items: int = 5, max_bytes: int = 100, max_keys: int = 10) -> Batcher[Element]:
    def split(element: Element, max_items: int, max_bytes: int) -> list[Element]:
        first, count = element
        step = min(max_items, max_bytes)
        return [(first + at, min(step, count - at)) for at in range(0, count, step)]

    return Batcher(
        max_items=max_items,
        max_bytes=max_bytes,
        max_keys=max_keys,
        weigh=lambda element: (element[1], element[1]),
        split=split,
    )


def ids(batches: list[Batch[Element]]) -> list[list[int]]:
    return [
        [first + at for first, count in batch.elements for at in range(count)] for batch in batches
    ]


def test_a_batch_opens_with_its_first_element_and_asks_for_one_timer() -> None:
    """An idle stream must have no timer, and a busy one only one a batch."""
    decisions = batcher()
    closed, opened = decisions.offer("k", (0, 2))
    assert closed == []
    assert opened is not None
    assert decisions.offer("k", (2, 2)) == ([], None)
    assert decisions.items == 4


def test_a_batch_that_reaches_its_limit_closes_at_once() -> None:
    """Waiting for the element that overflows would only add latency."""
    closed, opened = batcher(max_items=2).offer("k", (0, 2))
    assert ids(closed) == [[0, 1]]
    assert closed[0].reason is Reason.ITEMS
    assert opened is None


def test_an_element_that_would_overflow_opens_the_next_batch() -> None:
    """Elements are not cut to fill a batch: that costs and helps nobody."""
    decisions = batcher(max_items=5)
    decisions.offer("k", (0, 3))
    closed, opened = decisions.offer("k", (3, 3))
    assert ids(closed) == [[0, 1, 2]]
    assert opened is not None
    assert ids([opened]) == [[3, 4, 5]]


def test_an_element_too_big_alone_is_split_and_its_rest_opens_the_next_batch() -> None:
    """A backend's limit holds for what one sender sends, too."""
    decisions = batcher(max_items=5)
    closed, opened = decisions.offer("k", (0, 12))
    assert ids(closed) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert opened is not None
    assert ids([opened]) == [[10, 11]]


def test_bytes_close_a_batch_as_items_do() -> None:
    """4 MiB is what many gRPC servers accept, however few the records."""
    decisions = batcher(max_items=100, max_bytes=4)
    decisions.offer("k", (0, 3))
    closed, _ = decisions.offer("k", (3, 2))
    assert ids(closed) == [[0, 1, 2]]


def test_a_late_timer_closes_nothing() -> None:
    """A timer that lost the race against a full batch must not close the next one."""
    decisions = batcher(max_items=2)
    _, opened = decisions.offer("k", (0, 1))
    assert opened is not None
    decisions.offer("k", (1, 1))
    assert not decisions.expire(opened)
    _, again = decisions.offer("k", (2, 1))
    assert again is not None
    assert decisions.expire(again)
    assert again.reason is Reason.DELAY


def test_one_key_too_many_closes_the_oldest_batch() -> None:
    """Unbounded keys would be unbounded memory."""
    decisions = batcher(max_keys=2)
    decisions.offer("a", (0, 1))
    decisions.offer("b", (1, 1))
    closed, opened = decisions.offer("c", (2, 1))
    assert [(batch.key, batch.reason) for batch in closed] == [("a", Reason.KEYS)]
    assert opened is not None


def test_lowering_a_limit_closes_what_is_now_over_full() -> None:
    """A controller that lowers the batch size wants it lower now, not after the next element."""
    decisions = batcher(max_items=10)
    decisions.offer("k", (0, 4))
    assert ids(decisions.set_limit(max_items=3)) == [[0, 1, 2, 3]]
    assert decisions.items == 0


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 14)), max_size=40),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 2),
)
def test_nothing_is_lost_doubled_mixed_or_too_large(
    offers: list[tuple[str, int]], max_items: int, max_bytes: int, max_keys: int
) -> None:
    """The laws of the batch operator, whatever is offered."""
    decisions = batcher(max_items, max_bytes, max_keys)
    out: list[Batch[Element]] = []
    offered: dict[str, list[int]] = {"a": [], "b": []}
    first = 0
    for key, count in offers:
        offered[key] += range(first, first + count)
        closed, _ = decisions.offer(key, (first, count))
        out += closed
        first += count
        assert decisions.items == sum(batch.items for batch in decisions._open.values())
    out += decisions.flush(Reason.END)
    assert decisions.items == 0
    for batch in out:
        assert batch.elements
        assert batch.items <= max_items
        assert batch.size <= max_bytes
    for key in "ab":
        sent = [item for part in ids([batch for batch in out if batch.key == key]) for item in part]
        assert sent == offered[key]


def test_what_cannot_be_split_takes_no_open_batch_with_it() -> None:
    """A broken element is its sender's trouble; what waits in the batch is others' data."""

    def split(_element: int, _items: int, _size: int) -> list[int]:
        raise ValueError("unreadable")

    unsplittable = Batcher[int](
        max_items=3, max_bytes=100, max_keys=2, weigh=lambda items: (items, 1), split=split
    )
    _, opened = unsplittable.offer("k", 2)
    with pytest.raises(ValueError, match="unreadable"):
        unsplittable.offer("k", 4)
    assert unsplittable.items == 2
    assert unsplittable.flush(Reason.END) == [opened]
