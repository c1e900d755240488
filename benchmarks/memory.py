"""Does the demo's pipeline grow with what has passed through it?

Unit: MiB of resident memory of the gateway's process, after 100,000 items and at the end.
Baseline: itself after 100,000 items.
Blind spot: growth below the noise of the allocator, and whatever takes days.

    a million items in 10,000 requests: at most 32 MiB more than after 100,000

    python -m benchmarks.memory [ITEMS]
"""

import http.client
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

from benchmarks.processes import started
from benchmarks.workloads import payload

__all__ = ["memory"]

ITEMS_A_REQUEST = 100
SENDERS = 4
LIMIT = 32.0  # MiB


def memory(*, items: int = 1_000_000) -> dict[str, Any]:
    """Send `items` through the demo's gateway and compare its memory."""
    early = items // 10
    requests = [
        (signal.names.http_path, data)
        for name in ("spans", "logs", "metrics")
        for signal, data in [payload(name, items=ITEMS_A_REQUEST)]
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        started("sink") as sink,
        started("gateway", folder, f"http://{sink.addresses['http']}") as gateway,
    ):
        process = psutil.Process(gateway.pid)
        address = gateway.addresses["http"]
        _send(address, requests, early // ITEMS_A_REQUEST)
        first = process.memory_info().rss / 2**20
        _send(address, requests, (items - early) // ITEMS_A_REQUEST)
        last = process.memory_info().rss / 2**20
    return {
        "goal": "memory",
        "items": items,
        "requests": items // ITEMS_A_REQUEST,
        "early_items": early,
        "early_mib": first,
        "last_mib": last,
        "growth_mib": last - first,
        "limit_mib": LIMIT,
        "met": last - first <= LIMIT,
    }


def _send(address: str, requests: list[tuple[str, bytes]], count: int) -> None:
    with ThreadPoolExecutor(SENDERS) as pool:
        for result in pool.map(
            lambda first: _sender(address, requests, range(first, count, SENDERS)), range(SENDERS)
        ):
            assert result is None


def _sender(address: str, requests: list[tuple[str, bytes]], numbers: range) -> None:
    connection = http.client.HTTPConnection(address, timeout=60)
    for number in numbers:
        path, body = requests[number % len(requests)]
        connection.request("POST", path, body, {"Content-Type": "application/x-protobuf"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"request {number}: answered {answer.status}")
    connection.close()


def main() -> None:
    """Print the comparison; exit 1 when it grew too much."""
    row = memory(items=int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
    print(
        f"{row['early_items']} items: {row['early_mib']:.1f} MiB, {row['items']} items: "
        f"{row['last_mib']:.1f} MiB, {row['growth_mib']:+.1f} MiB, at most "
        f"{row['limit_mib']:.0f}: {'met' if row['met'] else 'missed'}"
    )
    sys.exit(0 if row["met"] else 1)


if __name__ == "__main__":
    main()
