"""Rules about ends: completion, error, disposal, and what is left after them."""

import gc
import weakref

from rxotlp._core.outcomes import Kind
from rxotlp.data import TelemetryData
from rxotlp.shares import Share
from rxotlp.testing._subject import Run, Subject
from rxotlp.testing.rules import Rule, expect

__all__ = ["RULES"]

TERMINAL = "|#"


def completion(subject: Subject) -> None:
    with Run(subject) as run:
        run.feed()
        run.end()
        _ended_once(run, "|")
    with Run(subject) as run:  # and a stream without elements has an end as well
        run.end()
        _ended_once(run, "|")


def error(subject: Subject) -> None:
    with Run(subject) as run:
        run.feed()
        run.rig.feed.fail(RuntimeError("the source failed"))
        run.let_go()
        _ended_once(run, "#")
        texts = [str(one) for one in run.rig.errors]
        expect(texts == ["the source failed"], f"expected the source's error, got {texts}")
        run.answered()
        run.balanced()
        run.arrived()


def _ended_once(run: Run, how: str) -> None:
    ends = [moment.what for moment in run.rig.happened if moment.what in TERMINAL]
    expect(ends == [how], f"expected the stream to end once with {how!r}, got {ends}")
    last = run.rig.happened[-1].what
    expect(last == how, f"{last!r} came after the end")


def dispose_early(subject: Subject) -> None:
    with Run(subject) as run:
        run.rig.dispose()
        run.let_go()
        run.balanced()
        expect(not run.rig.happened, f"disposed at once, and yet there came {run.rig.happened}")
        expect(not run.exporter.calls, f"disposed at once, and yet exported {run.exporter.calls}")


def dispose(subject: Subject) -> None:
    with Run(subject) as run:
        run.feed()
        run.rig.dispose()
        gc.collect()
        run.rig.wait(0)
        if "acknowledge" not in subject.may:
            run.answered()  # at once, not when some timer comes
        run.let_go()
        run.answered()
        run.balanced()
        if "acknowledge" in subject.may or not subject.lossless():
            return  # what was lost may have been lost on purpose
        arrived = set(run.exporter.ids)
        for at, ids in enumerate([(1, 2, 3), (4,), (5, 6), (7,)]):
            lost = sorted(set(ids) - arrived)
            heard = run.outcomes()[at]
            expect(
                not lost or heard is Kind.FAILED,
                f"ids {lost} were held at disposal and never arrived, and their sender heard "
                f"{heard and heard.name}; expected FAILED",
            )


def silence(subject: Subject) -> None:
    with Run(subject) as run:
        run.feed()
        run.rig.dispose()
        emitted, exported = len(run.rig.happened), len(run.exporter.calls)
        run.let_go()
        later = run.rig.happened[emitted:]
        expect(not later, f"emitted after disposal: {later}")
        late = run.exporter.calls[exported:]
        expect(not late, f"exported after disposal: {late}")


def unsubscribe(subject: Subject) -> None:
    with Run(subject) as run:
        run.feed()
        expect(run.rig.feed.subscribed, "the source has no subscriber while the stream runs")
        run.rig.dispose()
        expect(not run.rig.feed.subscribed, "the source is still subscribed after disposal")


def timers(subject: Subject) -> None:
    for ending in ("completion", "disposal"):
        with Run(subject) as run:
            run.feed()
            if ending == "completion":
                run.end()
            else:
                run.rig.dispose()
                run.let_go()
            left = run.rig.clock.statistics()
            expect(
                not left.timers and not left.queued,
                f"after {ending} {left.timers} timers are armed and {left.queued} actions wait",
            )


def leaks(subject: Subject) -> None:
    with Run(subject) as run:
        run.feed()
        run.end()
        receipts = set(map(id, run.rig.receipts))
        alive = [
            data
            for data in gc.get_objects()
            if isinstance(data, TelemetryData)
            and data._share is not None
            and _origins(data._share) & receipts
        ]
        holders = {
            type(holder).__name__
            for data in alive
            for holder in gc.get_referrers(data)
            if holder is not alive
        }
        expect(not alive, f"{len(alive)} elements are still referred to, by {sorted(holders)}")
    operator = weakref.ref(run.rig.feed)
    del run
    gc.collect()
    expect(operator() is None, "the source is still referred to after everything has ended")


def _origins(share: Share) -> set[int]:
    found, todo = set(), [share]
    while todo:
        one = todo.pop()
        found.add(id(one))
        todo += one.parents
    return found


RULES = [
    Rule("completion", completion),
    Rule("error", error),
    Rule("dispose early", dispose_early),
    Rule("dispose", dispose),
    Rule("silence", silence),
    Rule("unsubscribe", unsubscribe),
    Rule("timers", timers),
    Rule("leaks", leaks),
]
