"""Drawing a stream that does not run: it is subscribed, hears nothing, and is disposed.

Stages and sources take part as when a pipeline starts, on a clock that stands still, with a
dry sketch: sources only say who they are, and no stage's observer is given anything. What
native operators do when they are subscribed they do here too (`rx.defer` calls its factory).
"""

from typing import Any

from reactivex import Observable, abc

from rxotlp.assembly import Assembly
from rxotlp.books import Books
from rxotlp.errors import PipelineError
from rxotlp.picture import Sketch
from rxotlp.schedulers import VirtualScheduler

__all__ = ["sketch"]


def sketch(stream: Observable[Any]) -> Sketch:
    """The picture of a stream.

    Raises:
        PipelineError: it is wired in a way that cannot work.
    """
    made = Assembly(Books(), sketch=Sketch(dry=True))
    faults: list[Exception] = []

    def subscribe(scheduler: abc.SchedulerBase, _state: object) -> None:
        with made:
            subscription = stream.subscribe(
                lambda _value: None, faults.append, lambda: None, scheduler=scheduler
            )
        found.append(subscription)

    found: list[abc.DisposableBase] = []
    scheduler = VirtualScheduler()
    try:
        scheduler.schedule(subscribe)
        scheduler.advance_by(0)
        for subscription in found:
            subscription.dispose()
    finally:
        scheduler.close()
    for fault in faults:
        if isinstance(fault, PipelineError):  # its author's mistake
            raise fault
    made.books.snapshot()  # which gives the books their numbers
    return made.sketch
