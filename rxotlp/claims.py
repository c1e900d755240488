"""What a stage or an exporter may put on a share: a claim, or a mark that it discards.

A claim is a promise that somebody reports what became of the element. A mark says what to
think of an element that dies unclaimed while the mark is on it.
"""

from typing import TYPE_CHECKING

from rxotlp._core.outcomes import ABANDONED, Outcome

if TYPE_CHECKING:
    from rxotlp.shares import Share

__all__ = ["Claim", "Discard"]


class Discard:
    """What becomes of a share whose element dies inside an operator that discards on purpose.

    Set on shares that go in, taken off those that come out. What the operator still held
    when it was disposed was not discarded on purpose: then `outcome` is `ABANDONED`.
    """

    __slots__ = ("outcome",)

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


class Claim:
    """A promise to report what became of an element; broken promises count as failed."""

    __slots__ = ("_share",)

    def __init__(self, share: "Share") -> None:
        self._share: Share | None = share

    def report(self, outcome: Outcome) -> None:
        """Settle the claim. The first report counts; later ones change nothing."""
        share, self._share = self._share, None
        if share is not None:
            share.report(outcome)

    @property
    def withdrawn(self) -> bool:
        """See `Share.withdrawn`."""
        return self._share is not None and self._share.withdrawn

    @property
    def due(self) -> float:
        """See `Share.first_due`."""
        return 0.0 if self._share is None else self._share.first_due()

    @property
    def offered_again(self) -> bool:
        """See `Share.all_offered_again`."""
        return self._share is not None and self._share.all_offered_again()

    def __del__(self) -> None:
        share = self._share
        if share is not None:
            share.inbox.put(lambda: share.report(ABANDONED))
