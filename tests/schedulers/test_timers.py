"""The timers' heap, against a sorted list."""

from hypothesis import given
from hypothesis import strategies as st

from rxotlp.schedulers.timers import NEVER, Item, Timers

_steps = st.lists(
    st.one_of(
        st.tuples(st.just("arm"), st.integers(0, 100)),
        st.tuples(st.just("cancel"), st.integers(0, 200)),
        st.tuples(st.just("take"), st.integers(0, 100)),
    ),
    max_size=200,
)


@given(_steps)
def test_due_timers_come_in_order_and_cancelled_ones_never(steps: list[tuple[str, int]]) -> None:
    """Lazy deletion and compaction are invisible, or they are wrong."""
    timers = Timers()
    armed: list[Item] = []
    waiting: list[Item] = []
    for step, number in steps:
        if step == "arm":
            item = Item(lambda *_: None, None, due=number)
            armed.append(item)
            waiting.append(item)
            timers.add(item)
        elif step == "cancel" and armed:
            item = armed[number % len(armed)]
            item.dispose()
            if item in waiting:
                waiting.remove(item)
        elif step == "take":
            expected = sorted(
                (item for item in waiting if item.due <= number),
                key=lambda item: (item.due, item.order),
            )
            assert timers.take_due(number) == expected
            waiting = [item for item in waiting if item.due > number]
            assert timers.next_due == min((item.due for item in waiting), default=NEVER)
        assert len(timers) == len(waiting)
    assert timers.discard() == len(waiting)
    assert timers.room == len(timers) == 0


def test_cancelled_timers_take_no_more_room_than_live_ones() -> None:
    """Compaction is paid for by the arming that makes it necessary."""
    timers = Timers()
    live = [Item(lambda *_: None, None, due=NEVER - 1) for _ in range(1000)]
    for item in live:
        timers.add(item)
    timers.take_due(0)
    most = 0
    for _ in range(20_000):
        item = Item(lambda *_: None, None, due=NEVER - 1)
        timers.add(item)
        item.dispose()
        timers.take_due(0)
        kept = Item(lambda *_: None, None, due=NEVER - 1)
        timers.add(kept)
        timers.take_due(0)
        kept.dispose()
        most = max(most, timers.room)
    assert len(timers) == 1000
    assert most <= 2 * 1024 + 64
