"""What several processes that ran one stream report, and the sum of it.

A worker writes its `Report` to a file as its last act; its parent adds them up. One
that was killed has written none, so its books are lost, and the sum says how many are.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rxotlp.books import Account
from rxotlp.drain import Report

__all__ = ["add_accounts", "add_reports", "read_report", "write_report"]

_COUNTED = ("closed",)  # mappings that add up; of the others (limits) the last counts


def write_report(path: Path, report: Report) -> None:
    """Write it whole or not at all."""
    text = json.dumps(
        {
            "accounts": [asdict(account) for account in report.accounts],
            "unbalanced": [asdict(account) for account in report.unbalanced],
            "left": dict(report.left),
            "seconds": report.seconds,
        }
    )
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.rename(path)


def read_report(path: Path) -> Report | None:
    """What a worker wrote; None when it came to nothing."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    accounts = [Account(**account) for account in said["accounts"]]
    unbalanced = [Account(**account) for account in said["unbalanced"]]
    left = said["left"]
    return Report(accounts, unbalanced, sum(left.values()), said["seconds"], left)


def add_reports(reports: Iterable[Report]) -> Report:
    """One report of all; the longest drain is that of all."""
    listed = list(reports)
    left: dict[str, int] = {}
    for report in listed:
        for name, items in report.left.items():
            left[name] = left.get(name, 0) + items
    return Report(
        add_accounts(report.accounts for report in listed),
        [account for report in listed for account in report.unbalanced],
        sum(left.values()),
        max((report.seconds for report in listed), default=0.0),
        left,
    )


def add_accounts(books: Iterable[Iterable[Account]]) -> list[Account]:
    """Books of the same stream added up, by the accounts' names, in their order."""
    sums: dict[str, dict[str, Any]] = {}
    for accounts in books:
        for account in accounts:
            counts = asdict(account)
            known = sums.setdefault(counts.pop("name"), {})
            for name, value in counts.items():
                known[name] = _added(name, known.get(name), value)
    return [Account(name, **counts) for name, counts in sums.items()]


def _added(name: str, known: Any, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return (known or 0) + value
    known = dict(known or {})
    for key, count in value.items():
        known[key] = known.get(key, 0) + count if name in _COUNTED else count
    return known
