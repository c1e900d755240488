"""`batch`: what leaves together, and what becomes of open batches."""

from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome
from rxotlp.admission import Admission
from rxotlp.data import TelemetryData
from rxotlp.receipt import Receipt
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs


def run(sink: Recorder, **options: Any) -> Rig:
    return Rig().run(ops.batch(**options), ops.export(sink))


def test_an_element_waits_at_most_max_delay_for_others() -> None:
    """The bound is the element's age, not the time since the last batch."""
    sink = Recorder()
    rig = run(sink, max_delay=4)
    rig.wait(10)
    receipt = rig.send([1])
    rig.wait(3.999)
    assert kind(receipt) is None
    rig.wait(0.001)
    assert kind(receipt) is Kind.DELIVERED
    rig.check_books()


def test_an_idle_stream_has_no_timer_and_sends_nothing() -> None:
    """Empty batches for ever are what reactivex's buffer does."""
    sink = Recorder()
    rig = run(sink)
    rig.wait(100)
    assert sink.calls == []
    assert rig.clock.statistics().timers == 0


def test_a_full_batch_leaves_its_timer_behind_cancelled() -> None:
    """A timer a batch would pile up under load."""
    sink = Recorder()
    rig = run(sink, max_items=1)
    for number in range(100):
        rig.send([number])
    assert rig.clock.statistics().timers == 0
    assert sink.calls == [[number] for number in range(100)]


def test_one_too_big_alone_is_split_and_its_rest_opens_the_next_batch() -> None:
    """The sender hears only when the last part has arrived."""
    sink = Recorder()
    rig = run(sink, max_items=2, max_delay=1)
    receipt = rig.send([1, 2, 3, 4, 5])
    assert sink.calls == [[1, 2], [3, 4]]
    assert kind(receipt) is None
    rig.wait(1)
    assert sink.calls == [[1, 2], [3, 4], [5]]
    assert kind(receipt) is Kind.DELIVERED
    rig.check_books()


def test_silence_closes_a_batch_early() -> None:
    """Senders that wait for their answer send nothing more: there is nobody to wait for."""
    sink = Recorder()
    rig = run(sink, max_delay=10, max_idle=1)
    for number in range(4):
        rig.send([number])
        rig.wait(0.75)
    assert sink.calls == []
    rig.wait(0.249)
    assert sink.calls == []
    rig.wait(0.001)
    assert sink.calls == [[0, 1, 2, 3]]
    assert rig.clock.statistics().timers == 0
    assert rig.books["batch"].closed == {"idle": 1}
    rig.check_books()


def test_the_age_of_a_batch_counts_though_it_is_never_silent() -> None:
    """A steady trickle must not keep its first element for ever."""
    sink = Recorder()
    rig = run(sink, max_delay=3, max_idle=1)
    for number in range(8):
        rig.send([number])
        rig.wait(0.5)
    assert sink.calls == [[0, 1, 2, 3, 4, 5]]
    assert rig.books["batch"].closed == {"delay": 1}


def test_each_key_has_a_silence_of_its_own() -> None:
    """One busy tenant must not make the others wait."""
    sink = Recorder()
    rig = run(sink, key=lambda data: data.items, max_delay=10, max_idle=1)
    rig.send([1, 2])
    for number in range(3, 7):
        rig.send([number])
        rig.wait(0.5)
    assert sink.calls == [[1, 2]]


def test_a_disposed_batch_listens_no_longer() -> None:
    """A timer that outlives its stage keeps it in memory."""
    sink = Recorder()
    rig = run(sink, max_idle=0.1)
    rig.send([1])
    rig.dispose()
    assert rig.clock.statistics().timers == 0
    rig.check_books()


def test_the_books_say_why_batches_closed() -> None:
    """Whoever tunes a batch must see which of its limits is the one that counts."""
    sink = Recorder()
    rig = run(sink, max_items=2, max_bytes=logs([1] * 2).size, max_delay=1, max_keys=1)
    rig.send([1, 2])
    rig.send([3])
    rig.send([4, 5])
    rig.send([6])
    rig.wait(1)
    rig.send([7])
    rig.end()
    account = rig.books["batch"]
    assert account.closed == {"items": 3, "delay": 1, "end": 1}
    assert "closed=items:3,delay:1,end:1" in str(account)
    rig.check_books()


def test_bytes_close_a_batch_as_items_do() -> None:
    """4 MiB is what many gRPC servers accept, however few the records."""
    sink = Recorder()
    rig = run(sink, max_bytes=logs([1]).size * 2)
    for number in range(1, 4):
        rig.send([number])
    assert sink.calls == [[1, 2]]
    assert rig.books["batch"].closed == {"bytes": 1}


def test_one_key_too_many_closes_the_oldest_batch() -> None:
    """Unbounded keys would be unbounded memory."""
    sink = Recorder()
    rig = run(sink, key=lambda data: data.items, max_keys=2, max_delay=60)
    rig.send([1])
    rig.send([2, 3])
    assert sink.calls == []
    rig.send([4, 5, 6])
    assert sink.calls == [[1]]
    assert rig.books["batch"].closed == {"keys": 1}
    rig.end()
    assert rig.clock.statistics().timers == 0
    rig.check_books()


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from("xy"), st.integers(1, 3)),
        max_size=20,
    ),
    st.integers(1, 6),
    st.integers(1, 3),
)
def test_named_metadata_never_mixes_and_order_is_kept_within_it(
    elements: list[tuple[str | None, str, int]], max_items: int, max_keys: int
) -> None:
    """A tenant's data in another tenant's request would be a leak."""
    seen: list[tuple[str | None, list[int]]] = []

    def deliver(data: TelemetryData) -> Outcome:
        seen.append((data.metadata.get("tenant"), ids_of(data)))
        return DELIVERED

    rig = Rig().run(
        ops.batch(metadata=["tenant"], max_items=max_items, max_keys=max_keys),
        ops.export(Recorder(deliver)),
    )
    sent: dict[str | None, list[int]] = {}
    first = 0
    for tenant, other, count in elements:
        ids = list(range(first, first + count))
        first += count
        sent.setdefault(tenant, []).extend(ids)
        metadata = {"other": other} if tenant is None else {"other": other, "tenant": tenant}
        rig.feed.admit(logs(ids).replace(metadata=metadata))
        rig.wait(0)
    rig.end()
    got: dict[str | None, list[int]] = {}
    for tenant, ids in seen:
        assert len(ids) <= max_items
        got.setdefault(tenant, []).extend(ids)
    assert got == sent
    rig.check_books()


def test_keys_and_metadata_and_signals_never_mix() -> None:
    """A tenant's data in another tenant's request would be a leak."""
    sink = Recorder()
    rig = Rig().run(
        rx_ops.map(lambda data: data.replace(metadata={"tenant": "ab"[data.items % 2]})),
        ops.batch(metadata=["tenant"], key=lambda data: data.items > 2),
        ops.export(sink),
    )
    rig.send([1])
    rig.send([2, 3])
    rig.send([4])
    rig.send([5, 6, 7])
    rig.end()
    assert sorted(sink.calls) == [[1, 4], [2, 3], [5, 6, 7]]
    rig.check_books()


def test_a_key_that_raises_rejects_its_element_and_the_stream_goes_on() -> None:
    """A bad element must not end a stream."""
    sink = Recorder()

    def key(data: TelemetryData) -> int:
        return 1 // (data.items - 1)

    rig = run(sink, key=key)
    assert kind(rig.send([1])) is Kind.REJECTED
    rig.send([2, 3])
    rig.end()
    assert sink.ids == [2, 3]
    rig.check_books()


def test_on_completion_open_batches_leave_first() -> None:
    """Completion is no reason to lose what waits."""
    sink = Recorder()
    rig = run(sink)
    receipt = rig.send([1])
    rig.end()
    assert sink.calls == [[1]]
    assert kind(receipt) is Kind.DELIVERED
    assert rig.completed()
    rig.check_books()


def test_on_error_open_batches_leave_before_the_error() -> None:
    """What was received before a fault is still good data."""
    sink = Recorder()
    rig = Rig()
    gate: Any = rx.subject.Subject()
    rig.run(rx_ops.merge(gate), ops.batch(), ops.export(sink))
    receipt = rig.send([1])
    gate.on_error(ValueError("upstream"))
    rig.wait(0)
    assert sink.calls == [[1]]
    assert kind(receipt) is Kind.DELIVERED
    assert [str(error) for error in rig.errors] == ["upstream"]
    rig.check_books()


def test_on_dispose_open_batches_fail_as_disposed_and_timers_go() -> None:
    """A disposed element was not delivered: its sender sends again."""
    sink = Recorder()
    rig = run(sink)
    receipt = rig.send([1])
    rig.dispose()
    assert kind(receipt) is Kind.FAILED
    assert receipt.outcome is not None
    assert "disposed" in receipt.outcome.reason
    assert rig.clock.statistics().timers == 0
    assert sink.calls == []
    rig.check_books()


def test_a_second_subscription_has_batches_of_its_own() -> None:
    """State in the operator instead of the subscription would mix two streams."""
    first, second = Recorder(), Recorder()
    operator = ops.batch(max_items=2)
    one, two = Rig(), Rig()
    one.run(operator, ops.export(first))
    two.run(operator, ops.export(second))
    one.send([1])
    two.send([2])
    one.send([3])
    assert (first.calls, second.calls) == ([[1, 3]], [])


def test_a_batch_closes_when_somebody_waits_for_the_credit_it_holds() -> None:
    """Nothing can wait for credit that sits in a batch: that would be for ever."""
    sink = Recorder()
    rig = run(sink, max_delay=3600)
    admission = Admission(max_bytes=100)
    credit = admission.reserve(80)
    receipt = rig.feed.admit(logs([1]), credit=credit)
    rig.wait(0)
    assert kind(receipt) is None
    granted: list[Any] = []
    admission.acquire(50, granted.append)
    rig.wait(0)
    assert kind(receipt) is Kind.DELIVERED
    assert len(granted) == 1


def test_a_batch_closes_when_a_sender_has_just_been_refused() -> None:
    """A refused sender comes back soon, and should then find room."""
    sink = Recorder()
    rig = run(sink, max_delay=3600)
    admission = Admission(max_bytes=100)
    rig.feed.admit(logs([1]), credit=admission.reserve(80))
    rig.wait(0)
    with pytest.raises(Exception, match="in flight"):
        admission.reserve(50)
    rig.wait(0)
    assert sink.calls == [[1]]
    assert admission.reserve(50).size == 50


def test_a_batch_opened_while_somebody_waits_does_not_wait() -> None:
    """What was in flight when the wait began holds credit too."""
    sink = Recorder()
    rig = run(sink, max_delay=3600)
    admission = Admission(max_bytes=100)
    first, second = admission.reserve(50), admission.reserve(50)
    rig.feed.admit(logs([1]), credit=first)
    rig.wait(0)
    admission.acquire(100, lambda credit: credit)
    rig.wait(0)
    assert sink.calls == [[1]]
    rig.feed.admit(logs([2]), credit=second)
    rig.wait(0)
    assert sink.calls == [[1], [2]]


def test_receipts_of_one_batch_settle_together_and_keep_senders_apart() -> None:
    """A partial rejection inside a merged batch names nobody."""
    from rxotlp._core.outcomes import rejected

    sink = Recorder(rejected("span 'secret' is bad", items=1))
    rig = run(sink, max_items=4)
    receipts: list[Receipt] = [rig.send([1, 2]), rig.send([3, 4])]
    for receipt in receipts:
        assert kind(receipt) is Kind.DELIVERED
        assert receipt.rejected == 0
        assert "secret" not in receipt.warning
        assert receipt.warning
    rig.check_books()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_items": 0}, r"batch\(max_items=0\): expected 1 or more"),
        ({"max_bytes": -1}, r"batch\(max_bytes=-1\): expected 1 or more"),
        ({"max_delay": 0}, r"batch\(max_delay=0\): expected seconds above 0"),
        ({"max_keys": 0}, r"batch\(max_keys=0\)"),
        ({"max_idle": 0}, r"batch\(max_idle=0\): expected seconds above 0"),
        ({"max_idle": 0.2}, r"batch\(max_idle=0.2\): expected less than max_delay=0.2"),
        ({"metadata": "tenant"}, "a sequence of names"),
        ({"key": 3}, "a function of an element"),
        ({"max_items": 1.5}, "a whole number"),
    ],
)
def test_a_wrong_argument_fails_where_the_pipeline_is_written(
    options: dict[str, Any], message: str
) -> None:
    """Not at the first element, on a server, at night."""
    with pytest.raises((ValueError, TypeError), match=message):
        ops.batch(**options)
