"""Bounded concurrency decisions."""

from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.slots import Entry, Slots


def works(entries: list[Entry[str]]) -> list[str]:
    return [entry.work for entry in entries]


def test_no_more_run_than_there_are_slots() -> None:
    """The bound is the point: a backend must not see nine requests when told eight."""
    slots: Slots[str] = Slots(2)
    a = slots.offer("a")
    assert works(a + slots.offer("b") + slots.offer("c")) == ["a", "b"]
    assert slots.waiting == 1
    left, started = slots.finish(a[0], 1)
    assert (works(left), works(started)) == (["a"], ["c"])


def test_ordered_results_wait_for_the_older_ones_and_keep_their_slots() -> None:
    """Otherwise one slow element would let results pile up without bound."""
    slots: Slots[str] = Slots(2, ordered=True)
    (a,), (b,) = slots.offer("a"), slots.offer("b")
    slots.offer("c")
    assert slots.finish(b, 2) == ([], [])
    left, started = slots.finish(a, 1)
    assert (works(left), works(started)) == (["a", "b"], ["c"])


def test_entries_of_one_key_run_one_at_a_time_in_order() -> None:
    """Per-key order is what a destination that overwrites by key needs."""
    slots: Slots[str] = Slots(8)
    (a1,) = slots.offer("a1", key="a")
    assert slots.offer("a2", key="a") == []
    assert works(slots.offer("b1", key="b")) == ["b1"]
    assert works(slots.finish(a1, None)[1]) == ["a2"]


def test_a_limit_of_zero_pauses_and_raising_it_resumes() -> None:
    """A control loop may close the tap without cancelling what runs."""
    slots: Slots[str] = Slots(0)
    assert slots.offer("a") == []
    assert works(slots.set_limit(1)) == ["a"]


@given(
    st.lists(st.sampled_from([None, "x", "y"]), max_size=20),
    st.integers(1, 4),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_everything_leaves_once_in_the_order_promised(
    keys: list[str | None], limit: int, ordered: bool, random: object
) -> None:
    """No interleaving of finishes strands, doubles or reorders an entry."""
    slots: Slots[int] = Slots(limit, ordered=ordered)
    running: list[Entry[int]] = []
    left: list[int] = []
    started: list[int] = []
    offers = list(enumerate(keys))

    def begin(entries: list[Entry[int]]) -> None:
        running.extend(entries)
        started.extend(entry.work for entry in entries)
        in_use = [entry.key for entry in running if entry.key is not None]
        assert len(in_use) == len(set(in_use))
        assert slots.running <= limit

    while offers or running:
        if offers and (not running or random.random() < 0.5):  # type: ignore[attr-defined]
            work, key = offers.pop(0)
            begin(slots.offer(work, key=key))
        else:
            entry = running.pop(random.randrange(len(running)))  # type: ignore[attr-defined]
            leaving, start = slots.finish(entry, entry.work)
            left.extend(gone.work for gone in leaving)
            begin(start)
    assert sorted(left) == list(range(len(keys)))
    assert slots.idle
    if ordered:
        assert left == sorted(left)
    for key in ("x", "y"):
        mine = [number for number in started if keys[number] == key]
        assert mine == sorted(mine)


def test_what_waits_can_be_taken_back() -> None:
    """A disposal must find every element that never started."""
    slots: Slots[str] = Slots(1, ordered=True)
    (a,) = slots.offer("a", key="k")
    slots.offer("b", key="k")
    slots.offer("c")
    assert list(slots.take_waiting()) == ["b", "c"]
    assert works(slots.finish(a, None)[0]) == ["a"]
    assert slots.idle


def test_the_lowest_rank_starts_next_and_a_key_keeps_its_order() -> None:
    """A rank decides among those that may start; a key decides who may."""
    slots: Slots[str] = Slots(1)
    (running,) = slots.offer("a1", key="a", rank=5)
    slots.offer("a2", key="a", rank=1)
    slots.offer("b", key="b", rank=3)
    slots.offer("c", rank=2)
    slots.offer("d", rank=2)
    order = []
    while not slots.idle:
        _left, started = slots.finish(running, None)
        if started:
            (running,) = started
            order.append(running.work)
    assert order == ["a2", "c", "d", "b"]
