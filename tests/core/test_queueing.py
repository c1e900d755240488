"""The bounded queue's decisions: room, policies, who is lost."""

from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.queueing import POLICIES, Answer, Entry, Line, delay


def line(when_full: str = "reject", *, max_items: int = 3, max_out: int | None = None) -> Line[str]:
    return Line(max_items=max_items, max_bytes=100, when_full=when_full, max_out=max_out)


def entry(work: str, items: int = 1, size: int = 1) -> Entry[str]:
    return Entry(work, items, size)


def works(entries: list[Entry[str]]) -> list[str]:
    return [one.work for one in entries]


def test_what_is_out_takes_room_until_it_leaves() -> None:
    """The bound is on what the queue answers for, wherever that is."""
    queue = line(max_items=1)
    assert queue.offer(entry("a"))[0] is Answer.ENTERED
    out = queue.next()
    assert out is not None
    assert queue.offer(entry("b"))[0] is Answer.FULL
    queue.leave(out)
    assert queue.offer(entry("b"))[0] is Answer.ENTERED


def test_bytes_are_bounded_as_items_are() -> None:
    """One record can be a megabyte."""
    queue = line()
    assert queue.offer(entry("a", size=60))[0] is Answer.ENTERED
    assert queue.offer(entry("b", size=60))[0] is Answer.FULL


def test_nobody_overtakes_those_who_wait_outside() -> None:
    """A small element must not starve a large one that came before it."""
    queue = line("wait")
    queue.offer(entry("a", 2))
    assert queue.offer(entry("large", 3))[0] is Answer.OUTSIDE
    assert queue.offer(entry("small", 1))[0] is Answer.OUTSIDE
    assert not queue.admit()
    out = queue.next()
    assert out is not None
    queue.leave(out)
    assert queue.admit()
    assert not queue.admit()


def test_the_oldest_that_is_here_makes_room() -> None:
    """What is out may be on its way to a backend, so it stays."""
    queue = line("drop_oldest", max_out=1)
    for work in "abc":
        queue.offer(entry(work))
    assert queue.next() is not None
    answer, lost = queue.offer(entry("d", 2))
    assert answer is Answer.ENTERED
    assert works(lost) == ["b", "c"]


def test_what_rests_after_a_failure_goes_first() -> None:
    """It is the one least likely to be delivered."""
    queue = line("drop_oldest")
    for work in "abc":
        queue.offer(entry(work))
    queue.next()
    second = queue.next()
    assert second is not None
    queue.rest(second)
    assert works(queue.offer(entry("d"))[1]) == ["b"]


def test_nobody_is_lost_in_vain() -> None:
    """When dropping everybody would not do, the newcomer alone is lost."""
    queue = line("drop_oldest")
    queue.offer(entry("a", 2))
    queue.offer(entry("b", 1))
    queue.next()
    assert queue.offer(entry("c", 2)) == (Answer.FULL, [])


def test_what_is_larger_than_the_queue_never_waits() -> None:
    """It would wait for ever, and everybody behind it."""
    for policy in POLICIES:
        assert line(policy).offer(entry("a", 4)) == (Answer.TOO_LARGE, [])


def test_no_more_than_max_out_are_out() -> None:
    """It is what keeps the rest here."""
    queue = line(max_out=1)
    queue.offer(entry("a"))
    queue.offer(entry("b"))
    first = queue.next()
    assert first is not None
    assert queue.next() is None
    queue.rest(first)
    second = queue.next()
    assert second is not None
    assert second.work == "b"
    queue.leave(second)
    assert queue.next() is None
    queue.due(first)
    assert queue.next() is first
    assert first.attempts == 2


def test_a_ranked_line_goes_by_rank_inside_and_outside() -> None:
    """And in order among equal ranks; what rested keeps its own."""
    queue: Line[str] = Line(max_items=2, max_bytes=9, when_full="wait", max_out=1, ranked=True)
    for work, rank in (("a", 3), ("b", 2), ("c", 5), ("d", 4), ("e", 4)):
        queue.offer(Entry(work, 1, 1, rank))
    order = []
    for turn in range(6):
        out = queue.next()
        assert out is not None
        order.append(out.work)
        if turn == 1:
            queue.rest(out)
            queue.due(out)
        else:
            queue.leave(out)
            if queue.outside is not None:
                assert queue.admit()
    assert order == ["b", "a", "a", "d", "e", "c"]
    assert queue.idle


@given(
    st.sampled_from(POLICIES),
    st.none() | st.integers(1, 3),
    st.lists(
        st.tuples(
            st.sampled_from(["offer", "next", "rest", "due", "leave", "admit"]), st.integers(1, 4)
        )
    ),
)
def test_every_entry_is_in_one_place_and_room_is_never_exceeded(
    policy: str, max_out: int | None, steps: list[tuple[str, int]]
) -> None:
    """Whatever happens in whichever order, nothing vanishes and no bound is broken."""
    queue = line(policy, max_out=max_out, max_items=5)
    inside: set[Entry[str]] = set()
    outside: list[Entry[str]] = []
    out: list[Entry[str]] = []
    resting: list[Entry[str]] = []
    for step, number in steps:
        if step == "offer":
            made = entry("x", number)
            answer, lost = queue.offer(made)
            inside -= set(lost)
            resting = [one for one in resting if one not in lost]
            if answer is Answer.ENTERED:
                inside.add(made)
            elif answer is Answer.OUTSIDE:
                outside.append(made)
        elif step == "next" and (taken := queue.next()) is not None:
            out.append(taken)
        elif step == "rest" and out:
            resting.append(out.pop())
            queue.rest(resting[-1])
        elif step == "due" and resting:
            queue.due(resting.pop())
        elif step == "leave" and out:
            inside.remove(out[-1])
            queue.leave(out.pop())
        elif step == "admit" and queue.outside is not None and queue.admit():
            inside.add(outside.pop(0))
        assert queue.items == sum(one.items for one in inside) <= 5
        assert queue.out == len(out)
        assert max_out is None or len(out) <= max_out
    here, waiting = queue.clear()
    assert set(here) == inside - set(out)
    assert waiting == outside
    assert queue.items == sum(one.items for one in out)
    assert queue.idle


def test_rests_double_up_to_a_bound_and_heed_the_backend() -> None:
    """A backend that asks for time gets it; one that is down is not hammered."""
    assert [delay(n, 1, 5, None) for n in (1, 2, 3, 4, 2000)] == [1, 2, 4, 5, 5]
    assert delay(1, 1, 5, 60) == 60
