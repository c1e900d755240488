"""Rules about elements on their way: what arrives, and what senders hear."""

from rxotlp._core.outcomes import Kind, failed, rejected
from rxotlp.testing._subject import Run, Subject
from rxotlp.testing.rules import Rule, expect

__all__ = ["RULES"]


def delivers(subject: Subject) -> None:
    with Run(subject) as run:
        run.feed()
        run.end()
        expect(not run.raised, f"raised in the scheduler's turn: {run.raised}")
        run.arrived()
        run.answered()
        good = {Kind.DELIVERED}
        for allowed, kind in (
            ("filter", Kind.FILTERED),
            ("drop", Kind.DROPPED),
            ("reject", Kind.REJECTED),
            ("fail", Kind.FAILED),
        ):
            if allowed in subject.may:
                good.add(kind)
        for at, heard in enumerate(run.outcomes()):
            outcome = run.rig.receipts[at].outcome
            expect(heard in good, f"the sender of element {at} heard {outcome}")


def order(subject: Subject) -> None:
    if "reorder" in subject.may or "copy" in subject.may:
        return
    with Run(subject) as run:
        for number in range(1, 13):
            run.send(number)
            run.rig.wait(0.1)
        run.end()
        ids = run.exporter.ids
        expect(ids == sorted(ids), f"sent 1 to 12 in order, arrived {ids}")


def failure(subject: Subject) -> None:
    with Run(subject, failed("the backend is down", retry_after=3.0)) as run:
        run.feed()
        run.end()
        if None in run.outcomes():  # it goes on trying, until a drain has no more time
            assert run.rig.subscription is not None
            run.rig.subscription.dispose()
            run.rig.wait(0)
        run.answered()
        run.balanced()
        if "acknowledge" in subject.may or not run.exporter.calls:
            return
        reached = {number for call in run.exporter.calls for number in call}
        _each_sender_heard(run, reached, Kind.FAILED)


def rejection(subject: Subject) -> None:
    with Run(subject, rejected("the backend says no")) as run:
        run.feed()
        run.end()
        run.answered()
        run.balanced()
        if "acknowledge" in subject.may or not run.exporter.calls:
            return
        reached = {number for call in run.exporter.calls for number in call}
        _each_sender_heard(run, reached, Kind.REJECTED)


def _each_sender_heard(run: Run, reached: set[int], wanted: Kind) -> None:
    sizes = [(1, 2, 3), (4,), (5, 6), (7,)]
    for at, (ids, heard) in enumerate(zip(sizes, run.outcomes(), strict=True)):
        if reached & set(ids):
            expect(
                heard is wanted or (heard is Kind.FAILED and "fail" in run.subject.may),
                f"the backend answered {wanted.name} for ids {sorted(reached & set(ids))}, and "
                f"the sender of element {at} heard {heard and heard.name}",
            )


def books(subject: Subject) -> None:
    with Run(subject) as run:
        run.feed()
        run.end()
        run.balanced()


RULES = [
    Rule("delivers", delivers),
    Rule("order", order),
    Rule("failure", failure),
    Rule("rejection", rejection),
    Rule("books", books),
]
