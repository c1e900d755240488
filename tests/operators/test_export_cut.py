"""`export` finds the bad request in a batch, and cuts what is too large. In virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex.subject import Subject

from rxotlp import Cause, Signal
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.operators import Retry
from rxotlp.shares import NEUTRAL_TEXT
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs
from rxotlp.wire import split

STEADY = Retry(jitter=0)


def refuses(*bad: int) -> Callable[[TelemetryData], Outcome]:
    """A backend that answers 400 to whatever has one of these in it."""

    def answer(data: TelemetryData) -> Outcome:
        found = sorted(set(ids_of(data)) & set(bad))
        return rejected(f"bad record {found[0]}", cause=Cause.BAD_DATA) if found else DELIVERED

    return answer


def holds(most: int, *, says: bool = False) -> Callable[[TelemetryData], Outcome]:
    """A backend that takes so many records, or bytes when it says how many, at once."""

    def answer(data: TelemetryData) -> Outcome:
        size = data.size if says else data.items
        if size <= most:
            return DELIVERED
        return rejected("too large", cause=Cause.TOO_LARGE, fits=most if says else None)

    return answer


def test_a_bad_request_in_a_batch_is_isolated_and_the_others_are_delivered() -> None:
    """The Collector drops the whole batch: one sender's mistake is everybody's loss."""
    backend = Recorder(refuses(3))
    with Rig(ops.batch(max_items=8), ops.export(backend)) as rig:
        heard = [rig.send([number]) for number in range(8)]
        assert sorted(backend.delivered) == [0, 1, 2, 4, 5, 6, 7]
        assert [kind(receipt) for receipt in heard] == [
            Kind.REJECTED if number == 3 else Kind.DELIVERED for number in range(8)
        ]
        assert len(backend.calls) == 7  # the whole, then two halves of each that has it
        account = rig.books["export"]
        assert (account.delivered, account.rejected) == (7, 1)
        rig.check()


def test_its_sender_hears_why_and_the_others_hear_nothing_of_it() -> None:
    """The reason names its data, which is nobody else's business."""
    with Rig(ops.batch(max_items=4), ops.export(Recorder(refuses(2)))) as rig:
        heard = [rig.send([number]) for number in range(4)]
        for number, receipt in enumerate(heard):
            assert receipt.outcome is not None
            assert receipt.outcome.reason == ("bad record 2" if number == 2 else "")
            assert not receipt.warning


def test_what_is_one_request_is_not_bisected() -> None:
    """Its sender made it as it is, and hears that it was refused."""
    backend = Recorder(refuses(2))
    with Rig(ops.export(backend)) as rig:
        heard = rig.send([1, 2, 3])
        assert kind(heard) is Kind.REJECTED
        assert heard.rejected == 3
        assert backend.calls == [[1, 2, 3]]
        rig.check()


def test_what_was_refused_for_another_reason_is_not_bisected() -> None:
    """A wrong password does not get better in halves."""
    backend = Recorder(rejected("unauthenticated"))
    with Rig(ops.batch(max_items=4), ops.export(backend)) as rig:
        for number in range(4):
            rig.send([number])
        assert len(backend.calls) == 1
        rig.check()


def test_c4_a_partial_success_is_not_bisected() -> None:
    """The others were delivered: sent again, they would be doubled."""
    backend = Recorder(rejected("one of them", items=1, cause=Cause.BAD_DATA))
    with Rig(ops.batch(max_items=4), ops.export(backend)) as rig:
        heard = [rig.send([number]) for number in range(4)]
        assert len(backend.calls) == 1
        assert {receipt.warning for receipt in heard} == {NEUTRAL_TEXT}
        account = rig.books["export"]
        assert (account.delivered, account.rejected) == (3, 1)
        rig.check()


def test_only_the_part_that_failed_is_sent_again() -> None:
    """What was delivered before the backend went down must not arrive twice."""
    down: list[int] = []

    def answer(data: TelemetryData) -> Outcome:
        if ids_of(data) == [2, 3] and not down:
            down.append(1)
            return failed("down")
        return holds(2)(data)

    backend = Recorder(answer)
    with Rig(ops.export(backend, retry=STEADY)) as rig:
        heard = rig.send([0, 1, 2, 3])
        assert backend.delivered == [0, 1]
        rig.wait(5)
        assert backend.calls == [[0, 1, 2, 3], [0, 1], [2, 3], [2, 3]]
        assert kind(heard) is Kind.DELIVERED
        assert [delivery.attempts for delivery in rig.results] == [2, 3]
        rig.check()


def test_a_part_that_is_given_up_fails_its_own_sender_alone() -> None:
    """The other sender's data has arrived: told to send again it would double it."""

    def answer(data: TelemetryData) -> Outcome:
        return failed("down") if ids_of(data) == [1] else holds(1)(data)

    with Rig(ops.batch(max_items=2), ops.export(Recorder(answer), retry=None)) as rig:
        heard = [rig.send([0]), rig.send([1])]
        assert [kind(receipt) for receipt in heard] == [Kind.DELIVERED, Kind.FAILED]
        rig.check()


def test_c8_what_is_too_large_leaves_in_as_few_requests_as_fit() -> None:
    """A destination that says how much it takes is asked no more often than needed."""
    one = logs([0]).size
    backend = Recorder(holds(3 * one, says=True))
    with Rig(ops.batch(max_items=9), ops.export(backend)) as rig:
        heard = [rig.send([number]) for number in range(9)]
        assert backend.calls[1:] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
        assert {kind(receipt) for receipt in heard} == {Kind.DELIVERED}
        rig.check()


def test_c8_a_single_request_is_cut_between_its_records() -> None:
    """A sender's limit may be larger than the backend's."""
    backend = Recorder(holds(2))
    with Rig(ops.export(backend)) as rig:
        heard = rig.send(range(5))
        assert sorted(backend.delivered) == [0, 1, 2, 3, 4]
        assert kind(heard) is Kind.DELIVERED
        rig.check()


def test_c8_what_cannot_be_cut_is_rejected_and_counted() -> None:
    """And nothing else is."""

    def answer(data: TelemetryData) -> Outcome:
        if 2 in ids_of(data):
            return rejected("too large", cause=Cause.TOO_LARGE)
        return DELIVERED

    backend = Recorder(answer)
    with Rig(ops.export(backend)) as rig:
        heard = rig.send(range(4))
        assert kind(heard) is Kind.REJECTED
        assert heard.rejected == 1
        assert sorted(backend.delivered) == [0, 1, 3]
        rig.check()


def test_parts_whose_sender_gave_up_are_left_out_when_it_is_cut() -> None:
    """It sends them again, and they have not been delivered yet."""

    def answer(data: TelemetryData) -> Outcome:
        return failed("down") if len(backend.calls) == 1 else holds(1)(data)

    backend = Recorder(answer)
    with Rig(ops.batch(max_items=3), ops.export(backend, retry=STEADY)) as rig:
        heard = [rig.send([number]) for number in range(3)]
        heard[1].expire("too late")
        rig.wait(5)
        assert sorted(backend.delivered) == [0, 2]
        assert [kind(receipt) for receipt in heard] == [
            Kind.DELIVERED,
            Kind.FAILED,
            Kind.DELIVERED,
        ]
        rig.check()


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    bad=st.sets(st.integers(0, 11)),
    most=st.integers(1, 20),
    down=st.integers(0, 3),
)
def test_every_sender_hears_what_became_of_its_own(
    sizes: list[int], bad: set[int], most: int, down: int
) -> None:
    """Any mixture of bad, too large and failing: each id is delivered once or answered for."""
    senders = [[100 * at + number for number in range(size)] for at, size in enumerate(sizes)]
    wrong = {100 * at for at in bad}
    left = [down]

    def answer(data: TelemetryData) -> Outcome:
        ids = ids_of(data)
        if len(ids) > most:
            return rejected("too large", cause=Cause.TOO_LARGE)
        if wrong & set(ids):
            return rejected("bad", cause=Cause.BAD_DATA)
        if left[0]:
            left[0] -= 1
            return failed("down")
        return DELIVERED

    backend = Recorder(answer)
    with Rig(ops.batch(max_items=sum(sizes)), ops.export(backend, retry=STEADY)) as rig:
        heard = [rig.send(ids) for ids in senders]
        rig.end()
        rig.wait(60)
        assert sorted(backend.delivered) == sorted(set(backend.delivered))
        for at, (ids, receipt) in enumerate(zip(senders, heard, strict=True)):
            got = len(set(ids) & set(backend.delivered))
            if at in bad:
                assert kind(receipt) is Kind.REJECTED
                assert receipt.rejected == len(ids) - got
            else:
                assert kind(receipt) is Kind.DELIVERED
                assert got == len(ids)
        rig.check()


def test_causes_are_the_exporters_to_name() -> None:
    """A plain rejection says nothing that would make smaller requests worthwhile."""
    assert rejected("no").cause is Cause.OTHER
    with pytest.raises(AttributeError):
        rejected("no").cause = Cause.BAD_DATA  # type: ignore[misc]


def test_what_a_disposal_keeps_from_being_bisected_is_to_be_sent_again() -> None:
    """One bad request was meant; a gateway that stops must not refuse the others for good."""

    async def slow(data: TelemetryData) -> Outcome:
        await asyncio.sleep(1)
        return refuses(2)(data)

    class Slow:
        def export(self, data: TelemetryData) -> Awaitable[Outcome]:
            return slow(data)

    with Rig(ops.batch(max_items=3), ops.export(Slow(), max_concurrent=1)) as rig:
        heard = [rig.send([number]) for number in (1, 2, 3)]
        rig.dispose()
        rig.wait(1)
        assert [kind(receipt) for receipt in heard] == [Kind.FAILED] * 3
        assert (rig.books["export"].rejected, rig.books["export"].failed) == (0, 3)
        rig.check()


@pytest.mark.parametrize("limits", [{"max_items": 3}, {"max_bytes": 120}])
def test_a_batch_that_a_smaller_batch_has_cut_is_still_bisected(limits: dict[str, Any]) -> None:
    """Cut in the middle of nowhere its parts had no senders: all heard OK, and it was lost."""
    backend = Recorder(refuses(6))
    with Rig(ops.batch(max_items=7), ops.batch(**limits, max_delay=1), ops.export(backend)) as rig:
        heard = [rig.send(ids) for ids in ([1], [2, 3], [4, 5], [6], [7])]
        rig.wait(2)
        assert [kind(receipt) for receipt in heard] == [
            Kind.DELIVERED,
            Kind.DELIVERED,
            Kind.DELIVERED,
            Kind.REJECTED,
            Kind.DELIVERED,
        ]
        assert not any(receipt.warning for receipt in heard)
        assert sorted(backend.delivered) == [1, 2, 3, 4, 5, 7]
        rig.end()
        rig.check()


def test_a_joined_batch_that_a_smaller_batch_cannot_cut_is_refused_to_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody may hear OK of what went nowhere."""
    cut = split.split

    def broken(signal: Signal, payload: bytes, **limits: Any) -> list[tuple[bytes, int]]:
        if 3 in ids_of(TelemetryData.from_bytes(signal, payload)):
            raise DecodeError("no log record")
        return cut(signal, payload, **limits)

    monkeypatch.setattr(split, "split", broken)
    backend = Recorder()
    with Rig(ops.batch(max_items=4), ops.batch(max_items=1), ops.export(backend)) as rig:
        heard = [rig.send([1, 2]), rig.send([3, 4])]
        assert {kind(receipt) for receipt in heard} <= {Kind.REJECTED, Kind.FAILED}
        assert rig.books["batch#2"].rejected == 4
        rig.end()
        rig.check()


@pytest.mark.parametrize(
    "answer",
    [
        rejected("no"),
        rejected("no", items=2),
        rejected("large", cause=Cause.TOO_LARGE),
        rejected("bad", cause=Cause.BAD_DATA),
    ],
)
def test_whoever_is_left_of_a_batch_hears_that_all_of_its_own_was_refused(answer: Outcome) -> None:
    """With those counted who had withdrawn, it was only some of it, and it heard OK."""
    limits: Subject[int] = Subject()
    backend = Recorder(answer)
    export = ops.export(backend, max_concurrent=ops.Limit(limits, initial=0))
    with Rig(ops.batch(max_items=3), export) as rig:
        left, gone = rig.send([1, 2]), rig.send([3])
        gone.expire("late")
        limits.on_next(1)
        rig.wait(1)
        assert backend.calls[0] == [1, 2]
        assert (kind(left), left.rejected) == (Kind.REJECTED, 2)
        assert (rig.books["export"].rejected, rig.books["export"].failed) == (2, 1)
        rig.end()
        rig.check()
