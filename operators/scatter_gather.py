"""One element through several processors at once, and what they give made into one again.

Processors get detached copies, which share the element's bytes: whatever they return, drop
or keep, the one thing that stands for the element is what `merge` returns.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from reactivex import abc

from rxotlp.data import TelemetryData
from rxotlp.operators._described import described
from rxotlp.operators._shell import Operator
from rxotlp.operators.chain import Processor, as_list, check_processors, is_async, one_stage

__all__ = ["scatter_gather"]

Merge = Callable[[list[TelemetryData]], TelemetryData | None]


@described
def scatter_gather(
    *processors: Processor,
    merge: Merge,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Run every processor on the same element, and merge what they give.

    ```
    scatter_gather(as_it_is, as_it_is, merge=TelemetryData.merge)
        source  -a-b-|
        result  -A-B-|            A=a+a  B=b+b
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp import TelemetryData
        >>> from rxotlp.testing import Rig, draw
        >>> def as_it_is(data):
        ...     return data
        >>> with Rig(ops.scatter_gather(as_it_is, as_it_is, merge=TelemetryData.merge)) as rig:
        ...     heard = rig.play("-a-b-|")
        >>> draw(rig.happened)
        'aa@1  bb@3  |@5'

    Args:
        processors: as of `chain`, one or more. `async def` ones run at the same time, on the
            scheduler's loop; plain ones run first, one after the other.
        merge: gets what they gave, in the order of the processors, and returns what goes on,
            or None to filter it. It is not asked when none of them gave anything.
        name: the stage's name in the books; "scatter_gather" by default.
        scheduler: where async processors run.

    Raises:
        ValueError, TypeError: no processor, or something that cannot be called.

    Any raise, of a processor or of `merge`, rejects the element, and processors that still
    run are cancelled. With an `async` processor, elements are taken one at a time, in order.
    On completion and error, what runs and waits is finished first. On dispose, what runs is
    cancelled, and it and what waits fail as `disposed`.
    """
    check_processors("scatter_gather", processors)
    if not callable(merge) or is_async(merge):
        raise TypeError(
            f"scatter_gather(merge={merge!r}): expected a plain function of a list of elements"
        )

    def gather(given: list[Any]) -> TelemetryData | None:
        made = [element for one in given for element in as_list(one)]
        return merge(made) if made else None

    def plain(data: TelemetryData) -> TelemetryData | None:
        return gather([processor(data.detached()) for processor in processors])

    async def at_once(data: TelemetryData) -> TelemetryData | None:
        return gather(await _all(processors, data.detached()))

    stage = at_once if any(map(is_async, processors)) else plain
    return one_stage(
        (stage,), on_error="reject", name=name, kind="scatter_gather", scheduler=scheduler
    )


async def _all(processors: tuple[Processor, ...], data: TelemetryData) -> list[Any]:
    """What each gives; the first to raise has the others cancelled, and raises here.

    Not a TaskGroup: its exception is in a reference cycle, with a traceback that leads to
    the frames that hold the element, which would then wait for a collection.
    """
    given = [None if is_async(processor) else processor(data) for processor in processors]
    tasks = {
        at: asyncio.ensure_future(_awaited(processor, data))
        for at, processor in enumerate(processors)
        if is_async(processor)
    }
    try:
        await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
        # Those that raised first: of one that was still running there is no result.
        for at in sorted(tasks, key=lambda at: not _raised(tasks[at])):
            given[at] = tasks[at].result()
        return given
    finally:
        while tasks:
            tasks.popitem()[1].cancel()


def _raised(task: "asyncio.Future[Any]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


async def _awaited(processor: Processor, data: TelemetryData) -> Any:
    made: Any = processor(data)
    return await made
