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


def reasons(batches: list[Batch[Element]]) -> list[Reason | None]:
    return [batch.reason for batch in batches]


def test_a_batch_says_which_limit_closed_it() -> None:
    """Who tunes a batch must know which of its limits is the one that counts."""
    decisions = batcher(max_items=5, max_bytes=100)
    decisions.offer("k", (0, 3))
    assert reasons(decisions.offer("k", (3, 3))[0]) == [Reason.ITEMS]
    assert reasons(decisions.offer("k", (6, 2))[0]) == [Reason.ITEMS]
    assert reasons(decisions.offer("k", (8, 12))[0]) == [Reason.ITEMS] * 2
    decisions = batcher(max_items=100, max_bytes=5)
    decisions.offer("k", (0, 3))
    assert reasons(decisions.offer("k", (3, 3))[0]) == [Reason.BYTES]
    assert reasons(decisions.offer("k", (6, 2))[0]) == [Reason.BYTES]
    assert reasons(decisions.offer("k", (8, 12))[0]) == [Reason.BYTES] * 2


def test_silence_is_counted_from_the_latest_element() -> None:
    """One timer a batch is enough: it is told how long to sleep again."""
    decisions = batcher()
    _, opened = decisions.offer("k", (0, 1), 10.0)
    assert opened is not None
    decisions.offer("k", (1, 1), 11.5)
    assert decisions.silent(opened, 12.0, 2.0) == 1.5
    assert decisions.silent(opened, 13.5, 2.0) == 0.0
    assert opened.reason is Reason.IDLE
    assert decisions.silent(opened, 20.0, 2.0) is None


def test_in_a_pause_nothing_closes_and_what_comes_is_kept_uncut() -> None:
    """By which limits it will be cut is known only when the pause is over."""
    decisions = batcher(max_items=5)
    _, opened = decisions.offer("k", (0, 4), 1.0)
    assert opened is not None
    assert decisions.set_limit(max_items=0) == []
    assert decisions.offer("k", (4, 40)) == ([], None)
    assert not decisions.expire(opened)
    assert decisions.silent(opened, 99.0, 1.0) is None
    assert decisions.flush(Reason.CREDIT) == []
    assert decisions.items == 44
    assert ids(decisions.set_limit(max_items=4)) == [[0, 1, 2, 3]]
    assert list(decisions.parked()) == [("k", (4, 40))]
    assert decisions.items == 0


def test_two_limits_at_0_are_a_pause_until_both_are_above() -> None:
    """Each limit is its own control loop's."""
    decisions = batcher()
    decisions.set_limit(max_items=0, max_bytes=0)
    decisions.set_limit(max_items=5)
    assert decisions.paused
    decisions.set_limit(max_bytes=5)
    assert not decisions.paused


def test_an_end_in_a_pause_goes_by_the_last_limits_above_0() -> None:
    """What leaves at the end must be no larger than a backend was said to take."""
    decisions = batcher(max_items=5)
    decisions.set_limit(max_items=3)
    decisions.set_limit(max_items=0)
    decisions.offer("k", (0, 5))
    decisions.resume()
    ((key, element),) = decisions.parked()
    closed, _ = decisions.offer(key, element)
    assert ids(closed + decisions.flush(Reason.END)) == [[0, 1, 2], [3, 4]]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("ab"), st.integers(1, 9)),
            st.tuples(st.just("max_items"), st.integers(0, 6)),
            st.tuples(st.just("max_bytes"), st.integers(0, 6)),
        ),
        max_size=40,
    )
)
def test_limits_that_change_lose_double_mix_and_reorder_nothing(
    steps: list[tuple[str, int]],
) -> None:
    """A control loop may turn its knobs at any moment."""
    decisions = batcher(6, 6)
    limits = {"max_items": 6, "max_bytes": 6}
    offered: dict[str, list[int]] = {"a": [], "b": []}
    out: list[Batch[Element]] = []
    first = 0

    def add(key: str, element: Element) -> None:
        closed, _ = decisions.offer(key, element)
        for batch in closed:
            assert batch.items <= min(limits.values())
        out.extend(closed)

    def resumed(reason: Reason) -> None:
        for key, element in decisions.parked():
            add(str(key), element)
        out.extend(decisions.flush(reason))

    for name, number in steps:
        if name in offered:
            offered[name] += range(first, first + number)
            add(name, (first, number))
            first += number
            continue
        paused = decisions.paused
        limits[name] = number
        out += decisions.set_limit(**{name: number})
        assert decisions.paused == (0 in limits.values())
        if paused and not decisions.paused:
            resumed(Reason.RESUMED)
        held = sum(map(len, offered.values())) - sum(batch.items for batch in out)
        assert decisions.items == held
        if not decisions.paused:
            assert all(batch.items < min(limits.values()) for batch in decisions._open.values())
    limits = dict.fromkeys(limits, 100)  # the last above 0, whatever they were
    decisions.resume()
    resumed(Reason.END)
    assert decisions.items == 0
    for key in "ab":
        sent = [item for part in ids([batch for batch in out if batch.key == key]) for item in part]
        assert sent == offered[key]
