"""What both OTLP transports do with a request once they have its bytes.

    credit     waits for room, or refuses
    receive    validates, admits, waits for the receipt, and says what the sender hears

A transport reads bytes and writes answers; everything in between is here, so that a sender
hears the same over gRPC and HTTP. A coroutine that waits here keeps the receipt and a
future, never the element.
"""

import asyncio
import logging
from collections.abc import Mapping
from threading import get_ident
from types import MappingProxyType

from rxotlp._core.answers import SUCCESS, Answer, AnswerKind
from rxotlp._core.outcomes import Kind
from rxotlp.admission import Credit
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError, RefusedError
from rxotlp.receipt import Receipt
from rxotlp.sources.base import NOBODY, STOPPED, Source, State
from rxotlp.sources.deadlines import patience
from rxotlp.wire.signals import Signal
from rxotlp.wire.validate import Validated, validate

__all__ = ["Reception", "log_bad", "refusal", "undecodable"]

logger = logging.getLogger("rxotlp")

UNCOUNTED = -1  # to an element: nobody has counted its items


class Reception:
    """The transport-independent half of a receiver.

    Args:
        source: what it feeds.
        full: check every record instead of the shape alone.
        wait: let senders wait for credit instead of refusing them.
    """

    def __init__(self, source: Source, *, full: bool, wait: bool) -> None:
        self.source = source
        self.full = full
        self.wait = wait

    def patience(self, deadline: float | None) -> float:
        """Seconds in which a caller who waits `deadline` seconds must be answered."""
        return patience(deadline, self.source.ack_timeout)

    def check_open(self) -> None:
        """Raise a retryable RefusedError unless somebody takes what comes in."""
        source = self.source
        if not source.accepting:
            reason = NOBODY if source.state is State.OPEN else STOPPED
            raise RefusedError(reason, retry_after=source.admission.retry_after)

    async def credit(self, size: int, seconds: float) -> Credit:
        """Take `size` bytes of credit, waiting up to `seconds` for it if senders wait at all.

        Raises:
            RefusedError: no room; permanent when there can never be enough.
        """
        admission = self.source.admission
        if not self.wait or admission.refusal is not None:
            return admission.reserve(size)
        grant = _Grant(asyncio.get_running_loop())
        cancel = admission.acquire(size, grant)
        future = grant.future
        if future.done():
            return future.result()
        try:
            await asyncio.wait((future,), timeout=seconds)
        except BaseException:  # the sender is gone
            cancel()
            if future.done():
                future.result().release()
            future.cancel()
            raise
        if not future.done():
            cancel()
            future.cancel()  # a grant that is under way gives its credit back
            raise RefusedError(
                f"no room for {size} bytes in {seconds:.1f} s", retry_after=admission.retry_after
            )
        return future.result()

    async def receive(
        self,
        signal: Signal,
        payload: bytes,
        *,
        credit: Credit,
        seconds: float,
        peer: str,
        metadata: Mapping[str, str],
    ) -> Answer:
        """Admit a request and wait for what becomes of it.

        Args:
            payload: the request as protobuf, after decompression.
            credit: of its size; it is given back here or by the receipt.
            seconds: the time left to answer in.
        """
        source = self.source
        refused = 0
        fault = ""
        faults: tuple[DecodeError, ...] = ()
        items = UNCOUNTED
        try:
            if self.full:
                checked = validate(signal, payload)
                payload, items, refused = checked.payload, checked.accepted, checked.rejected
                faults = checked.errors
                fault = _summary(checked)
                if fault:
                    log_bad(signal.value, peer, fault)
            data = TelemetryData._new(signal, (payload,), items, MappingProxyType(metadata), None)
            items = data.items
            credit.resize(len(payload), items=items)
        except DecodeError as error:
            credit.release()
            return undecodable(signal, peer, error)
        except BaseException:
            credit.release()
            raise
        if refused:
            source.book_rejected(refused)
        if not items:
            credit.release()
            return _invalid(fault, faults) if fault else SUCCESS
        reply = _Reply(asyncio.get_running_loop())
        receipt = source.admit(data, credit=credit, on_settle=reply, patience=max(seconds, 0.0))
        del data, payload
        await reply.future
        return _answer(receipt, items, refused, fault)


def log_bad(what: str, peer: str, fault: str) -> None:
    """One line for one bad request; `fault` names a field, never what was in it."""
    logger.warning("%s from %s: %s", what, peer, fault)


def _summary(checked: Validated) -> str:
    """Up to three faults in one line."""
    shown = checked.errors[:3]
    more = checked.error_count - len(shown)
    text = "; ".join(str(error) for error in shown)
    return f"{text}; and {more} more" if more > 0 else text


def refusal(signal: Signal, peer: str, error: RefusedError) -> Answer:
    """What the sender of a request that was not admitted hears."""
    if error.permanent:
        log_bad(signal.value, peer, str(error))
        return Answer(AnswerKind.EXHAUSTED, message=str(error))
    return Answer(AnswerKind.UNAVAILABLE, message=str(error), retry_after=error.retry_after)


def undecodable(signal: Signal, peer: str, error: DecodeError) -> Answer:
    """What the sender of bytes that are no request hears."""
    log_bad(signal.value, peer, str(error))
    return _invalid(str(error), (error,))


def _invalid(text: str, faults: tuple[DecodeError, ...]) -> Answer:
    fields = tuple((error.path, str(error)) for error in faults) or (("", text),)
    return Answer(AnswerKind.INVALID, message=text, bad_fields=fields)


def _answer(receipt: Receipt, items: int, refused: int, fault: str) -> Answer:
    """What the sender hears about `items` that were admitted and `refused` that were not.

    A fault without a refused item (an unreadable metric that had no points) is a warning.
    """
    outcome = receipt.outcome
    assert outcome is not None
    if outcome.kind is Kind.FAILED:
        reason = outcome.reason or "not delivered"
        return Answer(AnswerKind.UNAVAILABLE, message=reason, retry_after=outcome.retry_after)
    rejected = refused
    reasons = [fault] if fault else []
    if outcome.kind is Kind.REJECTED:
        rejected += receipt.rejected or items
        reasons.append(outcome.reason or "rejected")
    if receipt.warning:
        reasons.append(receipt.warning)
    if not reasons:
        return SUCCESS
    text = "; ".join(reasons)
    if rejected >= items + refused:
        return _invalid(text, ())
    return Answer(AnswerKind.PARTIAL, rejected, text)


class _Grant:
    """Brings credit to the loop that waits for it, from whichever thread released it."""

    __slots__ = ("_loop", "_thread", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = get_ident()
        self.future: asyncio.Future[Credit] = loop.create_future()

    def __call__(self, credit: Credit) -> None:
        if get_ident() == self._thread:
            self._take(credit)
            return
        try:
            self._loop.call_soon_threadsafe(self._take, credit)
        except RuntimeError:  # the loop is closed: nobody waits any more
            credit.release()

    def _take(self, credit: Credit) -> None:
        if self.future.done():
            credit.release()
        else:
            self.future.set_result(credit)


class _Reply:
    """Wakes the coroutine that answers, on its own loop."""

    __slots__ = ("_loop", "_thread", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = get_ident()
        self.future: asyncio.Future[None] = loop.create_future()

    def __call__(self, receipt: Receipt) -> None:
        if get_ident() == self._thread:
            self._wake()
            return
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            logger.debug("%r settled after its receiver had closed", receipt)

    def _wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)
