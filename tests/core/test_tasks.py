"""Which task runs next, as a model would have it, and delays between retries."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.backoff import Backoff, RetryBudget
from rxotlp._core.tasks import TaskQueue

tasks = st.lists(
    st.tuples(st.integers(0, 5), st.integers(-3, 3), st.booleans()), min_size=1, max_size=40
)


@given(tasks, st.sampled_from([0.1, 1.0, 10.0]))
def test_what_is_due_runs_by_rank_and_what_is_not_keeps_it_waiting_never(
    added: list[tuple[int, int, bool]], ageing: float
) -> None:
    """The original looked only at the head of one queue: a later task stopped all others."""
    queue: TaskQueue[int] = TaskQueue(ageing=ageing)
    entries = [
        queue.add(number, due=due, priority=priority, now=0.0)
        for number, (due, priority, _) in enumerate(added)
    ]
    for entry, (_, _, cancelled) in zip(entries, added, strict=True):
        if cancelled:
            assert queue.cancel(entry)
            assert not queue.cancel(entry)
    waiting = {at: one for at, one in enumerate(added) if not one[2]}
    for now in range(6):
        due = [at for at, (when, _, _) in waiting.items() if when <= now]
        wanted = sorted(due, key=lambda at: (waiting[at][0] - waiting[at][1] * ageing, at))
        got = []
        while (task := queue.take(float(now))) is not None:
            got.append(task)
        assert got == wanted
        for at in due:
            del waiting[at]
        assert len(queue) == len(waiting)
        assert queue.next_due() == min((one[0] for one in waiting.values()), default=None)
    assert not waiting


@pytest.mark.parametrize("due", [0.0, 9.0])
def test_what_is_cancelled_holds_no_place_while_others_wait(due: float) -> None:
    """While all workers are busy nothing is taken: requests and cancellations must not add up."""
    queue: TaskQueue[int] = TaskQueue(ageing=1.0)
    kept = [queue.add(at, due=due, priority=at % 20, now=0.0) for at in range(20)]
    places = []
    for at in range(10_000):
        assert queue.cancel(queue.add(at, due=due, priority=at * 7 % 20, now=0.0))
        places.append(len(queue._later) + len(queue._heap) + sum(map(len, queue._lines)))
    assert max(places) <= len(kept) + 66
    assert len(queue) == len(kept)
    assert [queue.take(9.0) for _ in kept] == [*reversed(range(20))]
    assert queue.next_due() is None


@given(
    st.lists(
        st.one_of(
            st.tuples(st.floats(0, 20), st.integers(-15, 15)),  # add: due, priority
            st.sampled_from(["take", "cancel"]),
            st.floats(0, 3).map(lambda seconds: ("wait", seconds)),
        ),
        max_size=120,
    )
)
def test_whatever_order_they_come_in_they_go_by_rank(steps: list[Any]) -> None:
    """Lines and a heap give what one sorted list would, whatever is added, cancelled and taken."""
    queue: TaskQueue[int] = TaskQueue(ageing=1.0)
    waiting: dict[int, tuple[float, float, Any]] = {}
    now = 0.0
    for number, step in enumerate(steps):
        if step == "take":
            due = [at for at, (when, _, _) in waiting.items() if when <= now]
            wanted = min(due, key=lambda at: (waiting[at][0] - waiting[at][1], at), default=None)
            assert queue.take(now) == wanted
            if wanted is not None:
                del waiting[wanted]
        elif step == "cancel":
            if waiting:
                at = min(waiting, key=lambda one: (one * 7) % 13)
                assert queue.cancel(waiting.pop(at)[2])
        elif step[0] == "wait":
            now += step[1]
        else:
            due_at, priority = step
            entry = queue.add(number, due=due_at, priority=priority, now=now)
            waiting[number] = (due_at, priority, entry)
        assert len(queue) == len(waiting)
        assert (queue.next_due() is None) == (not waiting)
    assert sorted(queue.take_all()) == sorted(waiting)


def test_the_least_important_runs_under_saturation() -> None:
    """One waits; a more important task comes every second, and one a second is taken."""
    queue: TaskQueue[str] = TaskQueue(ageing=2.0)
    queue.add("low", due=0.0, priority=0, now=0.0)
    for second in range(100):
        queue.add("high", due=float(second), priority=5, now=float(second))
        if queue.take(float(second)) == "low":
            break
    assert second <= 5 * 2.0 + 1  # (their priority - its own) * ageing, and the one that is due


def test_cancelled_tasks_do_not_pile_up() -> None:
    """A timeout for every request, cancelled each time, must not cost memory for an hour."""
    queue: TaskQueue[object] = TaskQueue(ageing=1.0)
    for _ in range(10_000):
        queue.cancel(queue.add(object(), due=3600.0, priority=0, now=0.0))
    assert len(queue) == 0
    assert len(queue._later) <= 200


def test_everything_can_be_taken_at_the_end() -> None:
    """In the order in which it would have run; each of it once."""
    queue: TaskQueue[str] = TaskQueue(ageing=1.0)
    queue.add("later", due=9.0, priority=9, now=0.0)
    gone = queue.add("gone", due=0.0, priority=1, now=0.0)
    queue.add("low", due=0.0, priority=0, now=0.0)
    queue.add("high", due=0.0, priority=2, now=0.0)
    queue.cancel(gone)
    assert queue.take_all() == ["high", "low", "later"]
    assert queue.take_all() == []
    assert queue.next_due() is None


@pytest.mark.parametrize("priority", [float("nan"), float("inf"), "high", None])
def test_a_priority_that_is_none_is_refused(priority: Any) -> None:
    """It would sort anywhere."""
    with pytest.raises((TypeError, ValueError), match="priority"):
        TaskQueue[int](ageing=1.0).add(1, due=0.0, priority=priority, now=0.0)


@given(st.floats(0, 0.999), st.integers(1, 60))
def test_delays_grow_to_their_limit_and_stay_within_their_jitter(dice: float, retry: int) -> None:
    """Too short a delay is an attack, too long a one is an outage."""
    backoff = Backoff(lambda: dice, first=5.0, factor=1.5, most=30.0, jitter=0.2)
    centre = min(30.0 / 1.2, 5.0 * 1.5 ** (retry - 1))
    assert 0.8 * centre - 1e-9 <= backoff.delay(retry) <= min(1.2 * centre, 30.0) + 1e-9


def test_retries_are_a_share_of_successes() -> None:
    """When everything fails, retrying it all only doubles the load."""
    budget = RetryBudget(share=0.5, reserve=2)
    assert [budget.take() for _ in range(4)] == [True, True, False, False]
    assert budget.refused == 2
    budget.succeeded()
    assert not budget.take()
    budget.succeeded()
    assert budget.take()
    for _ in range(100):
        budget.succeeded()
    assert [budget.take() for _ in range(3)] == [True, True, False]
