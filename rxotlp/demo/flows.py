"""`rxotlp demo flows`: a shop's orders as operations, driven by all there is for them.

Phases open the shop, orders come, few, many and few again, flows execute them, those of a
hybrid one where the strategy says, and a DynamicScheduler changes the limits of the pipeline
that their telemetry takes. At the end every span and every measurement must have arrived, by
its number, every book must balance, the loggers must have told it in order, and the picture
of the decisions is written.
"""

import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rxotlp.demo.orders import KINDS, SPANS
from rxotlp.demo.shop import SETTINGS, Shop
from rxotlp.flows import DataRoute
from rxotlp.schedulers import plot_decisions

__all__ = ["main"]

TOLD = 24  # entries of the opening that are shown


def main(
    *,
    orders: int = 300,
    seed: int = 1,
    console: Console | None = None,
    output: Path | None = None,
) -> bool:
    """Run it, show what went where, and say whether all of it is accounted for.

    Args:
        orders: that come within a minute of virtual time.
        output: the directory of the picture; a temporary one by default.
    """
    screen = console or Console()
    shop = Shop(orders, seed)
    shop.run()
    _tell(screen, shop)
    _tables(screen, shop)
    directory = Path(tempfile.mkdtemp(prefix="rxotlp-demo-")) if output is None else output
    directory.mkdir(parents=True, exist_ok=True)
    picture = directory / "decisions.svg"
    title = f"{orders} orders in a minute: measurements and decisions"
    plot = plot_decisions(shop.samples, shop.decisions, settings=SETTINGS, title=title)
    picture.write_text(plot, encoding="utf-8")
    good = _check(screen, shop)
    screen.print(f"the picture of the decisions: {picture}", soft_wrap=True)
    return good


def _tell(screen: Console, shop: Shop) -> None:
    """The opening, as the loggers told it."""
    entries = shop.journal.entries
    opening = entries[0][1] if entries else ""
    table = Table("", "logger", "entry", title="the opening, as three loggers tell it")
    for logger, execution, number, text in entries:
        if execution == opening and len(table.rows) < TOLD:
            table.add_row(str(number), logger, text)
    screen.print(table)


def _tables(screen: Console, shop: Shop) -> None:
    table = Table("flow", "orders", "operations", title=f"{shop.orders} orders, executed by")
    for (flow, kind), count in sorted(shop.executed.items()):
        table.add_row(flow, kind, str(count))
    screen.print(table)
    table = Table("operation", "executed", "times", title="where the strategy had them executed")
    for (operation, flow_type), count in sorted(shop.routed.items(), key=str):
        table.add_row(operation, flow_type.value, str(count))
    screen.print(table)
    table = Table("way", "items", title="their telemetry, through HybridDataFlow")
    for way in DataRoute:
        table.add_row(way.value, str(shop.ways[way]))
    screen.print(table)
    table = Table("second", "decision", "to", "because", title="what the DynamicScheduler decided")
    for decision in shop.decisions:
        at = "" if decision.metrics is None else f"{decision.metrics.at:.0f}"
        table.add_row(at, decision.action, str(decision.after), decision.reason)
    screen.print(table)


def _check(screen: Console, shop: Shop) -> bool:
    backend, statistics = shop.backend, shop.state.statistics()
    kinds = [list(KINDS)[number % len(KINDS)] for number in range(shop.orders)]
    missing = [number for number, kind in enumerate(kinds) if backend.spans[number] != SPANS[kind]]
    actions = {decision.action for decision in shop.decisions}
    checks = {
        "every order was executed": shop.closed and not shop.failures,
        f"every span arrived, by its order ({sum(backend.spans.values())})": not missing,
        f"every measurement arrived ({backend.measured})": backend.measured == dict(Counter(kinds)),
        "nothing is open, unobserved, refused or undelivered": not any(
            (
                statistics.open_spans,
                statistics.unended,
                statistics.unobserved,
                statistics.refused,
                statistics.undelivered,
            )
        ),
        "the books balance": not shop.books.unbalanced,
        f"limits followed the load and came back, the door was shut {shop.door.times}x": {
            "reduce_concurrency",
            "increase_batch_size",
            "restore_concurrency",
            "restore_batch_size",
        }
        <= actions,
        f"the loggers told it in order ({len(shop.journal.entries)} entries)": _in_order(shop),
    }
    for text, holds in checks.items():
        screen.print(f"{'yes' if holds else 'NO '}  {text}")
    for text in shop.failures[:5]:
        screen.print(f"     {text}")
    if missing:
        screen.print(f"     orders without all of their spans: {missing[:10]}")
    return all(checks.values())


def _in_order(shop: Shop) -> bool:
    """Each execution's entries by their numbers, and all three loggers in one of them."""
    last: dict[str, int] = {}
    loggers: dict[str, set[str]] = {}
    for logger, execution, number, _ in shop.journal.entries:
        if number <= last.get(execution, 0):
            return False
        last[execution] = number
        loggers.setdefault(execution, set()).add(logger)
    return any(told == {"control", "data", "execution"} for told in loggers.values())
