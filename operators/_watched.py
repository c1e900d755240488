"""Give an element to a branch under a receipt of its own, and hear what became of it.

That receipt is a `Watch`. To the branch it is a sender; to the element that came in it is
one more part that is not accounted for yet. So both ways work as if nobody stood in between:

    down   what the sender withdraws is withdrawn in the branch; an export in there knows by
           when to answer, and a batch whose credit it holds
    up     at a deadline the sender's receipt sees what becomes of the element in the branch

When the watch settles, the stage holds a claim on what came in, decides in its own turn, and
either passes the outcome on or gives the same bytes to another branch under another watch.
Of an element that was joined from several requests, each sender hears what became of its own.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from reactivex import abc

from rxotlp._core.inbox import Inbox
from rxotlp._core.outcomes import DELIVERED, DISPOSED, Kind, Outcome, failed
from rxotlp.claims import Claim
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError
from rxotlp.operators._branches import Branch, Branching, check_branch
from rxotlp.operators._shell import Operator
from rxotlp.operators._turn import Turn
from rxotlp.operators.export import export
from rxotlp.receipt import Receipt
from rxotlp.shares import Share

if TYPE_CHECKING:
    from rxotlp.admission import Credit

__all__ = ["Hear", "Job", "Watch", "Watching", "answered", "as_branch"]


class Job:
    """One element on its way through the stage: its bytes, and the share it came with.

    Attributes:
        claim: while the stage has it; None while a branch does.
        watch: while a branch has it.
        parts: of a joined element, in the branch that had it last: what each has to tell.
    """

    __slots__ = ("claim", "data", "items", "parts", "share", "watch")

    def __init__(self, share: Share, data: TelemetryData) -> None:
        self.share = share
        self.claim: Claim | None = share.claim()
        self.data = data  # without a share of its own; its parts know theirs
        self.items = share.items
        self.watch: Watch | None = None
        self.parts: list[_Part] | None = None

    @property
    def over(self) -> bool:
        """Its senders were told to send again, or are being answered right now."""
        share = self.share
        return share.withdrawn or any(receipt.lingered for receipt in share.receipts())

    def report(self, outcome: Outcome) -> None:
        """Say what became of it; the stage has nothing to do with it any more."""
        claim, self.claim = self.claim, None
        parts, self.parts = self.parts, None
        if claim is None:
            return
        for part in parts or ():
            part.tell(outcome)
        claim.report(outcome if parts is None else DELIVERED)

    def let_go(self) -> None:
        """A watch speaks for it from now on."""
        claim, self.claim, self.parts = self.claim, None, None
        if claim is not None:
            claim.report(DELIVERED)


Hear = Callable[[Job, Outcome], object]


class Watch(Receipt):
    """The receipt of an element inside a branch."""

    __slots__ = ("_given_up", "_job", "_left")

    def __init__(
        self, job: Job, inbox: Inbox, on_settle: Callable[[Receipt], object], due: float
    ) -> None:
        super().__init__(inbox=inbox, on_settle=on_settle)
        self._job = job
        self._left = self._given_up = False
        sender = job.share.sender
        first = job.share.first_due() if sender is None else sender.due
        self.due = min(first, due) if first and due else first or due
        job.watch = self
        job.share._add(self)
        job.let_go()

    def _shares_of(self, before: list[Share]) -> list[Share]:
        parts = self._job.parts = [_Part(self, share) for share in before]
        self.retire()
        return list(parts)

    @property
    def withdrawn(self) -> bool:  # type: ignore[override]  # nobody else sets it
        """The stage has given it up, or every sender was told to send again."""
        return self._given_up or self._job.share.withdrawn

    @property
    def offered_again(self) -> bool:  # type: ignore[override]  # as above
        """Every source behind it offers it again when it fails."""
        return self._job.share.all_offered_again()

    def credits(self) -> "list[Credit]":
        """The credit of everybody whose data it is."""
        return [credit for receipt in self._job.share.receipts() for credit in receipt.credits()]

    def come_back(self) -> bool:
        """The stage has it again, and the branch no part in it; False if that was so before."""
        if self._left:
            return False
        self._left = True  # no call since the line above: nobody else comes in between
        job = self._job
        job.claim = job.share.claim()
        job.watch = None
        job.share.pending -= 1
        return True

    def give_up(self) -> bool:
        """Take it from the branch, which must not send it any more; False if it is settled."""
        if not self.come_back():
            return False
        self._given_up = True
        self._job.parts = None  # nobody knows what becomes of them
        return True

    def heard(self) -> Outcome:
        """What became of it, all in one outcome."""
        assert self.outcome is not None
        return _heard(self)


class _Part(Share):
    """The share that a part of a joined element has in the branch.

    Its sender is the part's own, so what is told of the whole names nobody's data; until the
    stage gives the whole up, which withdraws it whatever its sender says.
    """

    __slots__ = ("_before", "_watch")

    def __init__(self, watch: Watch, before: Share) -> None:
        super().__init__(before.items, (watch,), before.sender, watch.inbox)
        self._watch = watch
        self._before = before
        watch._add(self)

    @property
    def sender(self) -> Receipt | None:
        return None if self._watch._given_up else self._sender

    def tell(self, outcome: Outcome) -> None:
        """Tell its sender; what failed gets the `outcome` that the stage has for the whole."""
        own = _heard(self)
        self._before.verdict(outcome if own.kind is Kind.FAILED else own)


def _heard(share: Share) -> Outcome:
    """What a resolved share has to tell, all in one outcome."""
    outcome = share.worst
    if outcome.kind is Kind.REJECTED:
        refused = share.refused
        outcome = replace(outcome, items=refused if refused < share.items else None)
    if share.warning and not outcome.warning:
        outcome = replace(outcome, warning=share.warning)
    return outcome


class Watching(Branching):
    """A stage that hears of everything it gives to its branches.

    Subclasses implement `offer`: `give` the job to a branch or `refuse` it. What they `give`
    with is called once, in the turn, and must `pass_on` what it hears, or `take_back` the
    job and give it or refuse it again.
    """

    __slots__ = ("_holding",)

    def __init__(
        self, name: str, observer: abc.ObserverBase[Any], turn: Turn, *, given: str | None
    ) -> None:
        self._holding = 0
        super().__init__(name, observer, turn, given=given)

    def held(self) -> int:
        return self._holding

    def on_next(self, data: TelemetryData) -> None:
        data = self.take(data)
        share = data._share
        assert share is not None
        job = Job(share, data._with_share(None))
        del data, share
        self._holding += job.items
        if self.turn.here:
            self._arrive(job)
        else:
            self.turn.enter(lambda: self._arrive(job))

    def _arrive(self, job: Job) -> None:
        if self.disposed:
            self.refuse(job, DISPOSED)
        else:
            self.offer(job)

    def offer(self, job: Job) -> None:
        """In the turn: an element came in."""
        raise NotImplementedError

    def give(self, job: Job, branch: Branch, hear: Hear, *, due: float = 0.0) -> None:
        """Send it into a branch; `hear` is called with what became of it.

        Args:
            job: one that is here.
            branch: where to.
            hear: see the class.
            due: when this stage must know, in seconds of the turn; 0 for whenever its
                senders must.
        """
        if branch.closed or branch.entry is None:
            self.refuse(job, failed(f"{self.book.name}: branch ended: {branch.name}"))
            return
        watch = Watch(job, self.turn.inbox, partial(self._settled, job, hear), due)
        self._holding -= job.items
        self.emit([watch.attach(job.data)], branch.entry)

    def refuse(self, job: Job, outcome: Outcome) -> None:
        """What is held here ends here."""
        self._holding -= job.items
        self.book.count(outcome, job.items)
        job.report(outcome)

    def pass_on(self, job: Job, outcome: Outcome) -> None:
        """Say what became of it where it was; that is booked there."""
        job.report(outcome)

    def take_back(self, job: Job) -> None:
        """Hold it again, after it has failed somewhere else, where it is booked as failed."""
        self._holding += job.items
        self.book.created += job.items

    def _settled(self, job: Job, hear: Hear, receipt: Receipt) -> None:
        """In whichever thread settled it."""
        assert isinstance(receipt, Watch)
        if not receipt.come_back():
            return
        outcome = receipt.heard()
        if self.turn.here:
            self._hear(job, hear, outcome)
            return
        try:
            self.turn.post(lambda: self._hear(job, hear, outcome))
        except PipelineError:  # its scheduler is closed: nobody decides any more
            self.pass_on(job, outcome)

    def _hear(self, job: Job, hear: Hear, outcome: Outcome) -> None:
        if self.disposed:
            self.pass_on(job, outcome)
        else:
            hear(job, outcome)


def answered(outcome: Outcome) -> bool | None:
    """Whether a destination has answered (a refusal is an answer); None: nobody asked it."""
    if outcome.kind is Kind.FAILED:
        return False
    return True if outcome.kind in (Kind.DELIVERED, Kind.REJECTED) else None


def as_branch(call: str, branch: Any) -> Operator:
    """The operator that was given, or an `export` without retries of the exporter that was.

    Raises:
        TypeError: it is neither.
    """
    if callable(getattr(branch, "export", None)) or isinstance(branch, type):
        return export(branch, retry=None)  # which says what is wrong with a class
    check_branch(call, branch)
    return cast(Operator, branch)
