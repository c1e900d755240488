"""What `export` has in hand: bytes on their way to a destination, and who is to hear of them.

A job that a destination refuses as too large or as bad is cut. As long as it carries several
requests it is cut between them, and each part claims the shares of its own requests only, so
what is found out about one is told to no other's sender. What carries one request is cut
between its records, if that can help.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reactivex import abc

from rxotlp._core.outcomes import DELIVERED, Cause, Outcome
from rxotlp.claims import Claim
from rxotlp.data import Signal, TelemetryData
from rxotlp.shares import Share

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Delivery", "Job", "cut"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one element at a destination.

    Attributes:
        items: items that were attempted.
        bytes: their encoded size.
        outcome: what the exporter said.
        attempts: how many were made, those of the whole that it was cut from included; 0
            when all of it was withdrawn before the first.
        seconds: from the start of the first attempt to the outcome.
    """

    items: int
    bytes: int
    outcome: Outcome
    attempts: int
    seconds: float


class Job:
    """One element on its way out: its bytes, and the claim on its share.

    Attributes:
        claim: on everybody whom it concerns.
        data: without a share of its own; its parts know theirs.
        share: what `claim` is on.
        sent: what exporters get, the same object each time; None before the first attempt.
        items: items it carries.
        size: their bytes; 0 before the first attempt.
        attempts: begun so far.
        began: when the first attempt did, in seconds of the turn.
        started: when the last attempt did.
        pause: see `Retrying.again`.
        asked: the pause it is in is what the destination asked for.
        reported: it is over.
        running: what cancels the attempt under way.
        timer: the end of the attempt's time, or of the pause.
    """

    __slots__ = (
        "asked",
        "attempts",
        "began",
        "claim",
        "data",
        "items",
        "pause",
        "reported",
        "running",
        "sent",
        "share",
        "size",
        "started",
        "timer",
    )

    def __init__(self, share: Share, data: TelemetryData, items: int) -> None:
        self.claim: Claim = share.claim()
        self.share: Share | None = share
        self.data = data
        self.sent: TelemetryData | None = None
        self.items = items
        self.size = 0
        self.attempts = 0
        self.began = self.started = 0.0
        self.pause: float | None = None
        self.asked = False
        self.reported = False
        self.running: abc.DisposableBase | None = None
        self.timer: abc.DisposableBase | None = None

    def fix(self) -> None:
        """Leave out what was withdrawn; from here on the bytes stay what they are.

        Raises:
            DecodeError: profiles that must be joined and cannot be read.
        """
        whole = self.data
        self.data = data = whole._outgoing()
        if data is not whole:
            self._speak_for([share for _, share in data._parts or ()])
        # Joining profiles forgets where each request's were.
        self.sent = data._with_share(None) if data.signal is Signal.PROFILES else data
        self.size = self.sent.size

    def _speak_for(self, shares: "list[Share | None]") -> None:
        """For these alone, so that what is said of all of it is said of all of theirs."""
        left = [share for share in shares if share is not None]
        if left and len(left) == len(shares):
            claim = self.claim
            self.share = share = _one(left, self.data.items)
            self.claim = share.claim()
            share.retire()  # as in `_part`
            claim.report(DELIVERED)

    def over(self, outcome: Outcome) -> None:
        """Tell its senders; nothing is known of it afterwards."""
        self.reported = True
        self.running = self.timer = self.share = self.sent = None
        self.claim.report(outcome)


def cut(job: Job, outcome: Outcome) -> list[Job]:
    """The parts of a job to be tried by themselves after it was rejected with `outcome`.

    Returns:
        Jobs in its place, in order: it is over, and its senders are theirs. Nothing when
        that cannot help.
    """
    if outcome.cause is Cause.OTHER or outcome.items is not None:
        return []
    share = job.share
    assert share is not None
    parts: list[Job] = []
    for data, shares in job.data._divided(outcome.fits):
        parts.append(_part(_one(shares, data.items), data))
    if not parts and outcome.cause is Cause.TOO_LARGE and job.items > 1:
        smaller = job.data.split(max_bytes=outcome.fits) if outcome.fits else [job.data]
        if len(smaller) == 1:  # they say it would fit, and it did not
            smaller = job.data.split(max_items=(job.items + 1) // 2)
        for data, own in zip(smaller, share.split([each.items for each in smaller]), strict=True):
            parts.append(_part(own, data))
    if parts:
        for part in parts:
            part.attempts, part.began = job.attempts, job.began
        job.over(DELIVERED)  # nothing of its own: the parts report
    return parts


def _one(shares: "Sequence[Share]", items: int) -> Share:
    return shares[0] if len(shares) == 1 else Share.join(shares, items)


def _part(share: Share, data: TelemetryData) -> Job:
    job = Job(share, data, data.items)
    share.retire()  # it has no element whose death could be waited for
    return job
