"""`rxotlp inspect`: what is in a file of telemetry.

One request is in memory at a time, and of its records only names and times are decoded. What
is counted by service and by name is bounded: beyond MAX_KEYS, new ones are counted together.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rxotlp.cli.status import Status, exit_with, say
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError, OtlpError, UsageError
from rxotlp.exporters.text import clean
from rxotlp.sources.file_reader import FileReader, UnknownSignal
from rxotlp.wire.signals import Signal

__all__ = ["inspect"]

MAX_RECORD_SIZE = 64 * 1024 * 1024  # bytes, as sources.file has it
MAX_KEYS = 10_000  # services, or names of a signal, that are told apart
MAX_TOLD = 10  # broken records that are named one by one
OTHERS = "(others)"


class _Keys:
    """Counts by key, of at most MAX_KEYS keys."""

    __slots__ = ("_counts", "_others")

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._others = 0

    def add(self, key: str, count: int = 1) -> None:
        if key in self._counts or len(self._counts) < MAX_KEYS:
            self._counts[key] += count
        else:
            self._others += count

    def top(self, number: int) -> dict[str, int]:
        """The most frequent ones, and all others as one."""
        shown = dict(self._counts.most_common(number))
        others = self._counts.total() + self._others - sum(shown.values())
        return shown | ({OTHERS: others} if others else {})


class _Found:
    """What a file has of one signal."""

    __slots__ = (
        "first",
        "last",
        "names",
        "record_bytes",
        "records",
        "requests",
        "services",
        "size",
    )

    def __init__(self) -> None:
        self.requests = self.records = self.size = self.record_bytes = 0
        self.first = self.last = 0  # nanoseconds since 1970; 0 is none
        self.names, self.services = _Keys(), _Keys()

    def add(self, data: TelemetryData) -> None:
        """Count a request, all of it or, when it is malformed, nothing."""
        signal, size, times = data.signal, 0, []
        names: Counter[str] = Counter()
        services: Counter[str] = Counter()
        for record in data.records():
            size += len(record.to_bytes())
            names[_name(signal, record)] += 1
            services[str(record.resource.attributes.get("service.name", "(none)"))] += 1
            at = record.start_time_unix_nano if signal is Signal.TRACES else record.time_unix_nano
            if at:
                times.append(at)
        self.requests += 1
        self.records += names.total()
        self.size += data.size
        self.record_bytes += size
        for keys, counts in ((self.names, names), (self.services, services)):
            for key, count in counts.items():
                keys.add(key, count)
        if times:
            self.first = min(times) if not self.first else min(self.first, *times)
            self.last = max(self.last, *times)

    def as_json(self, top: int) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "records": self.records,
            "bytes": self.size,
            "bytes_of_records": self.record_bytes,
            "bytes_of_resources_and_scopes": self.size - self.record_bytes,
            "first": _moment(self.first),
            "last": _moment(self.last),
            "services": self.services.top(top),
            "names": self.names.top(top),
        }


def inspect(
    file: Annotated[Path, typer.Argument(help="The file to look into.", show_default=False)],
    signal: Annotated[
        Signal | None,
        typer.Option(
            help="Whose requests it has; needed for protobuf, which does not say.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many services and names to show.")] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead, for programs.")
    ] = False,
) -> None:
    """Show what is in a file: services, names, counts, time range and sizes.

    The file has lines of OTLP/JSON or length-delimited protobuf, plain, gzip or zstd. Names
    are those of spans and metrics, and the event names of log records or else their
    severities. Sizes are bytes as protobuf, whatever the file has.

    Example: rxotlp inspect spans.jsonl.gz --top 5

    Exit status: 0 good, 1 failed, 2 wrong usage, 3 some records could not be read.
    """
    found: dict[Signal, _Found] = {}
    try:
        broken = asyncio.run(_look(file, signal, found))
    except UnknownSignal as error:
        raise exit_with(Status.USAGE, UsageError(f"{error.reason}; expected --signal")) from None
    except OSError as error:
        raise exit_with(Status.FAILED, OtlpError(f"{file}: {error.strerror or error}")) from None
    except OtlpError as error:
        raise exit_with(Status.FAILED, error) from None
    shown = {one.value: found[one].as_json(top) for one in Signal if one in found}
    if as_json:
        typer.echo(json.dumps({"broken": broken, "signals": shown}, indent=2))
    else:
        _print(shown)
    if broken:
        say(f"{broken} records could not be read")
        raise typer.Exit(Status.UNDELIVERED)


async def _look(file: Path, signal: Signal | None, found: dict[Signal, _Found]) -> int:
    broken = 0

    def count(reason: str) -> None:
        nonlocal broken
        broken += 1
        if broken <= MAX_TOLD:
            say(reason)

    reader = FileReader(
        file,
        signal=signal,
        format="auto",
        follow=False,
        poll=1.0,
        max_record_size=MAX_RECORD_SIZE,
        start=None,
        broken=count,
    )
    with contextlib.closing(reader):
        async for data, mark in reader:
            try:
                found.setdefault(data.signal, _Found()).add(data)
            except DecodeError as error:
                count(f"{file}: record {mark.number}: {error}")
    return broken


def _name(signal: Signal, record: Any) -> str:
    if signal is Signal.TRACES:
        return str(record.name)
    if signal is Signal.METRICS:
        return str(record.metric.name)
    if signal is Signal.LOGS:
        return str(
            record.event_name or record.severity_text or f"severity {record.severity_number}"
        )
    return "profile"


def _moment(nanoseconds: int) -> str | None:
    if not nanoseconds:
        return None
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    try:
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09}Z"
    except (OverflowError, ValueError):  # no year that a calendar has
        return f"{nanoseconds} ns"


def _print(shown: dict[str, dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for signal, found in shown.items():
        table.add_row(signal, "requests", f"{found['requests']:,}")
        table.add_row("", "records", f"{found['records']:,}")
        table.add_row("", "bytes of records", f"{found['bytes_of_records']:,}")
        table.add_row(
            "", "bytes of resources and scopes", f"{found['bytes_of_resources_and_scopes']:,}"
        )
        if found["first"]:
            table.add_row("  time", found["first"], "")
            table.add_row("", found["last"], "")
        for heading in ("services", "names"):
            for index, (key, count) in enumerate(found[heading].items()):
                table.add_row("" if index else f"  {heading}", clean(key), f"{count:,}")
    Console(markup=False, highlight=False, emoji=False).print(table)
