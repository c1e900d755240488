# test_quiet_sender.py
import asyncio
from collections.abc import AsyncIterator

from rxotlp import Pipeline, Signal, TelemetryData, VirtualScheduler, exporters, sources
from rxotlp import operators as ops

HELLO = '{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "hi"}}]}]}]}'


async def sender() -> AsyncIterator[TelemetryData]:
    for _ in range(60):
        yield TelemetryData.from_json(Signal.LOGS, HELLO)
        await asyncio.sleep(1)


def test_nothing_waits_longer_than_it_may() -> None:
    time, memory = VirtualScheduler(), exporters.Memory()
    stream = sources.from_iterable(sender()).pipe(ops.batch(max_delay=30), ops.export(memory))
    with Pipeline(stream, scheduler=time):
        time.advance_to(29)
        assert memory.items == 0
        time.advance_to(30)
        assert memory.items == 30
