"""The credit gate of a source."""

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.inbox import Inbox
from rxotlp._core.outcomes import DELIVERED
from rxotlp.admission import Admission, Credit
from rxotlp.errors import RefusedError
from rxotlp.receipt import Receipt


def test_reserve_takes_what_fits_and_refuses_the_rest_with_a_time() -> None:
    """A refused sender must know that, and when, a retry may succeed."""
    admission = Admission(max_bytes=100, retry_after=3)
    credit = admission.reserve(60)
    with pytest.raises(RefusedError) as refused:
        admission.reserve(60)
    assert (refused.value.retry_after, refused.value.permanent) == (3, False)
    credit.release()
    assert admission.reserve(60).size == 60
    assert admission.refused == 1


def test_what_can_never_fit_is_refused_for_good() -> None:
    """A sender that retried it would retry for ever."""
    admission = Admission(max_bytes=100)
    for refuse in (admission.reserve, lambda size: admission.acquire(size, print)):
        with pytest.raises(RefusedError) as refused:
            refuse(101)
        assert refused.value.permanent


def test_waiters_are_served_in_order_of_arrival() -> None:
    """A large one must not be overtaken for ever by small ones."""
    admission = Admission(max_bytes=100)
    first = admission.reserve(80)
    served: list[int] = []
    admission.acquire(90, lambda credit: served.append(credit.size))
    admission.acquire(10, lambda credit: served.append(credit.size))
    with pytest.raises(RefusedError):
        admission.reserve(10)  # it would fit, but others came first
    assert served == []
    first.release()
    assert served == [90, 10]


def test_a_waiter_that_gave_up_is_passed_over() -> None:
    """A client that went away must not block those behind it."""
    admission = Admission(max_bytes=100)
    held = admission.reserve(100)
    served: list[str] = []
    cancel = admission.acquire(100, lambda _credit: served.append("gone"))
    admission.acquire(50, lambda _credit: served.append("served"))
    cancel()
    held.release()
    assert served == ["served"]
    assert admission.bytes == 50


def test_a_waiter_that_gives_up_lets_a_smaller_one_through_at_once() -> None:
    """Otherwise it would wait for somebody else's release."""
    admission = Admission(max_bytes=100)
    admission.reserve(60)
    served: list[int] = []
    cancel = admission.acquire(90, lambda credit: served.append(credit.size))
    admission.acquire(40, lambda credit: served.append(credit.size))
    cancel()
    assert served == [40]


def test_resize_corrects_a_reservation_and_never_waits() -> None:
    """Two half-read bodies that wait for each other's credit would wait for ever."""
    admission = Admission(max_bytes=100, max_items=10)
    credit = admission.reserve(10)
    credit.resize(60, items=4)
    assert (admission.bytes, admission.items) == (60, 4)
    other = admission.reserve(40)
    with pytest.raises(RefusedError) as refused:
        other.resize(50)
    assert not refused.value.permanent
    with pytest.raises(RefusedError) as refused:
        other.resize(40, items=11)
    assert refused.value.permanent
    assert (admission.bytes, admission.items) == (100, 4)
    credit.resize(10, items=4)
    other.resize(90, items=6)
    assert (admission.bytes, admission.items) == (100, 10)


def test_a_smaller_resize_lets_waiters_in() -> None:
    """A gzip body's reservation may be larger than what it holds."""
    admission = Admission(max_bytes=100)
    credit = admission.reserve(100)
    served: list[Credit] = []
    admission.acquire(50, served.append)
    credit.resize(50)
    assert len(served) == 1


def test_a_receipt_returns_its_credit_when_it_settles_and_only_once() -> None:
    """Credit that never came back would stop the source for good."""
    admission = Admission(max_bytes=100)
    credit = admission.reserve(70)
    receipt = Receipt(inbox=Inbox(lambda: None), credit=credit)
    receipt.settle(DELIVERED)
    receipt.settle(DELIVERED)
    credit.release()
    assert admission.bytes == 0


def test_holders_are_hurried_when_somebody_waits_or_is_refused() -> None:
    """And at once when they begin to hold while somebody waits already."""
    admission = Admission(max_bytes=100)
    hurried: list[str] = []
    admission.add_holder("a", lambda: hurried.append("a"))
    held = admission.reserve(100)
    assert hurried == []
    with pytest.raises(RefusedError):
        admission.reserve(1)
    assert hurried == ["a"]
    admission.acquire(1, lambda credit: credit.release())
    assert hurried == ["a", "a"]
    admission.add_holder("b", lambda: hurried.append("b"))
    assert hurried == ["a", "a", "b"]
    admission.remove_holder("a")
    held.release()
    assert admission.bytes == 0


@pytest.mark.parametrize("options", [{"max_bytes": 0}, {"max_items": 0}])
def test_a_gate_that_lets_nothing_in_is_a_mistake(options: dict[str, int]) -> None:
    """It fails where it is written."""
    with pytest.raises(ValueError, match="expected 1 or more"):
        Admission(**options)


def test_the_bound_holds_under_threads() -> None:
    """Handlers of several transports share one gate."""
    admission = Admission(max_bytes=50)
    most = 0

    def work() -> None:
        nonlocal most
        for _ in range(300):
            got = threading.Event()
            mine: list[Credit] = []

            def granted(credit: Credit, mine: list[Credit] = mine, got: Any = got) -> None:
                mine.append(credit)
                got.set()

            admission.acquire(20, granted)
            assert got.wait(60)
            most = max(most, admission.bytes)
            mine[0].release()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert most <= 50
    assert (admission.bytes, admission.waiting) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("rawx"), st.integers(0, 120)), max_size=60))
def test_credit_is_never_lost_nor_made(steps: list[tuple[str, int]]) -> None:
    """Whatever is reserved, acquired, cancelled, resized and released."""
    admission = Admission(max_bytes=100)
    held: list[Credit] = []
    cancels: list[Any] = []
    for what, size in steps:
        try:
            if what == "r":
                held.append(admission.reserve(size))
            elif what == "a":
                cancels.append(admission.acquire(size, held.append))
            elif what == "w" and cancels:
                cancels.pop(size % len(cancels))()
            elif held:
                credit = held[size % len(held)]
                if size % 3:
                    held.remove(credit)
                    credit.release()
                else:
                    credit.resize(size)
        except RefusedError:
            pass
        assert admission.bytes == sum(credit.size for credit in held) <= 100
    for cancel in cancels:
        cancel()
    for credit in held:
        credit.release()
    assert admission.waiting == 0


def test_several_may_refuse_and_the_last_lets_in_again() -> None:
    """A control loop that is content must not undo what the memory limit has shut."""
    admission = Admission(max_bytes=100, retry_after=1)
    admission.refuse("busy", retry_after=2)
    admission.refuse("memory", retry_after=7, by="limit")
    with pytest.raises(RefusedError, match="memory") as refused:
        admission.reserve(1)
    assert refused.value.retry_after == admission.retry_after == 7
    admission.readmit(by="limit")
    with pytest.raises(RefusedError, match="busy") as refused:
        admission.reserve(1)
    assert refused.value.retry_after == admission.retry_after == 2
    admission.readmit(by="nobody")
    assert bool(admission.refusal)
    admission.readmit()
    assert admission.refusal is None
    assert admission.retry_after == 1
    admission.reserve(1)


def test_a_refusal_of_what_is_unread_stops_bodies_that_grow() -> None:
    """What has begun to come in may be the very thing that fills the memory."""
    admission = Admission(max_bytes=100)
    credit = admission.reserve(10)
    admission.refuse("full", retry_after=3)
    credit.resize(20)
    admission.refuse("very full", retry_after=3, by="limit", unread=True)
    with pytest.raises(RefusedError, match="very full") as refused:
        credit.resize(30)
    assert (refused.value.retry_after, refused.value.permanent) == (3, False)
    credit.resize(15)
    assert admission.bytes == 15
