"""One pipeline definition, three schedulers, one result.

With a split, a rejection, a batch and a failing export in it: the same record ids arrive and
the books say the same, whoever's turn it is.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome, failed
from rxotlp.data import TelemetryData
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import AsyncScheduler, SyncScheduler, VirtualScheduler
from rxotlp.sources.iterable import from_iterable
from rxotlp.testing import ids_of, logs

REQUESTS = [range(start, start + 5) for start in range(0, 100, 5)]
BAD = 42  # its request is rejected
FLAKY = 7  # its part fails twice


class Flaky:
    """A destination that fails twice before it takes one of the records."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.failures = 2

    async def export(self, data: TelemetryData) -> Outcome:
        await asyncio.sleep(0)
        ids = ids_of(data)
        if FLAKY in ids and self.failures:
            self.failures -= 1
            return failed("not yet")
        self.ids += ids
        return DELIVERED


def refuse_bad(data: TelemetryData) -> TelemetryData:
    if BAD in ids_of(data):
        raise ValueError("bad record")
    return data


async def unhurried(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(0.001)
    return data


def definition(flaky: Flaky, batched: Flaky) -> Observable[Any]:
    """The pipeline: the same for all of them."""
    return from_iterable([logs(ids) for ids in REQUESTS], backoff=0.01).pipe(
        ops.chain(refuse_bad),
        ops.split_by("service.name"),
        ops.chain(lambda data: data.split(max_items=2)),
        ops.parallel(unhurried, ordered=True, max_concurrent=3),
        ops.map_records(lambda record: setattr(record, "severity_number", 9)),
        ops.filter_records(lambda record: record.body % 10 != 3),
        ops.route(
            lambda data: ids_of(data)[0] < 50,
            {True: ops.export(flaky, retry=None)},
            default=rx.compose(ops.batch(max_items=7, max_delay=0.05), ops.export(batched)),
        ),
    )


def on_sync(stream: Observable[Any]) -> Pipeline:
    with SyncScheduler() as scheduler, Pipeline(stream, scheduler=scheduler) as pipeline:
        assert pipeline.wait(60)
    return pipeline


def on_asyncio(stream: Observable[Any]) -> Pipeline:
    async def main() -> Pipeline:
        async with Pipeline(stream, scheduler=AsyncScheduler()) as pipeline:
            await asyncio.wait_for(pipeline.await_end(), 60)
        return pipeline

    return asyncio.run(main())


def on_virtual(stream: Observable[Any]) -> Pipeline:
    with VirtualScheduler() as scheduler, Pipeline(stream, scheduler=scheduler) as pipeline:
        assert pipeline.wait()
    return pipeline


RUNNERS = {"sync": on_sync, "asyncio": on_asyncio, "virtual": on_virtual}


def result(run: Callable[[Observable[Any]], Pipeline]) -> tuple[Any, ...]:
    flaky, batched = Flaky(), Flaky()
    pipeline = run(definition(flaky, batched))
    assert pipeline.error is None
    assert pipeline.report is not None
    assert pipeline.report.unbalanced == []
    assert pipeline.report.undelivered == 0
    return (
        Counter(flaky.ids),
        Counter(batched.ids),
        # Why batches closed depends on how fast the machine is; what was in them does not.
        {account.name: asdict(replace(account, closed={})) for account in pipeline.books},
    )


@pytest.mark.parametrize("name", RUNNERS)
def test_ids_and_books_are_the_same_on_every_scheduler(name: str) -> None:
    """What a test proves in virtual time must hold on a server."""
    first, batched, books = result(RUNNERS[name])
    wanted = [number for number in range(100) if number % 10 != 3 and not 40 <= number < 45]
    # The parts of a request that failed are all sent again, delivered ones too.
    again = [5, 6, 9] * 2
    assert first == Counter([number for number in wanted if number < 50] + again)
    assert batched == Counter(number for number in wanted if number >= 50)
    assert (first, batched, books) == result(on_virtual)
    assert books["chain"]["rejected"] == 5
    assert books["export"]["failed"] == 2 * len([7, 8])
