"""What the demo shows while it runs: a live table, or plain lines without a terminal."""

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from rxotlp.books import Account, Books

__all__ = ["Show", "books_table"]

COLUMNS = (
    "received",
    "created",
    "sent",
    "delivered",
    "filtered",
    "dropped",
    "rejected",
    "failed",
    "held",
)


class Show:
    """Rates and counts of every stage; `tick` it about twice a second."""

    def __init__(self, console: Console, books: Books) -> None:
        self._console = console
        self._books = books
        self._began = self._last = time.monotonic()
        self._said = self._began
        self._before: dict[str, Account] = {}
        self._live = (
            Live(console=console, auto_refresh=False, transient=True)
            if console.is_terminal and not console.is_dumb_terminal
            else None
        )

    def __enter__(self) -> "Show":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def tick(self) -> None:
        """Show what the books say now."""
        now = time.monotonic()
        if self._live is None and now - self._said < 1:
            return
        stages = [account for account in self._books.snapshot() if not _edge(account)]
        elapsed = max(now - self._last, 1e-6)
        rates = {
            stage.name: (stage.received - self._before.get(stage.name, Account("")).received)
            / elapsed
            for stage in stages
        }
        if self._live is not None:
            self._live.update(_live_table(stages, rates, now - self._began), refresh=True)
        else:
            text = "  ".join(f"{name} {rate:,.0f}/s" for name, rate in rates.items())
            self._console.print(f"{now - self._began:5.1f} s  {text}", soft_wrap=True)
            self._said = now
        self._before = {stage.name: stage for stage in stages}
        self._last = now


def _live_table(stages: list[Account], rates: dict[str, float], seconds: float) -> Table:
    table = Table(title=f"{seconds:.0f} s", title_justify="left")
    table.add_column("stage")
    table.add_column("items/s", justify="right")
    for name in ("received", "delivered", "filtered", "failed", "held"):
        table.add_column(name, justify="right")
    for stage in stages:
        table.add_row(
            stage.name,
            f"{rates[stage.name]:,.0f}",
            *(
                f"{count:,}" if count else ""
                for count in (
                    stage.received,
                    stage.delivered,
                    stage.filtered,
                    stage.failed,
                    stage.held,
                )
            ),
        )
    return table


def books_table(accounts: list[Account]) -> Table:
    """The books at the end: every account, and whether it balances.

    An edge from which everything went on as it came says nothing and is left out.
    """
    accounts = [account for account in accounts if not (_edge(account) and _quiet(account))]
    used = [name for name in COLUMNS if any(getattr(account, name) for account in accounts)]
    table = Table(title="The books, in items", title_justify="left")
    table.add_column("stage", no_wrap=True)
    for name in used:
        table.add_column(name, justify="right")
    table.add_column("balances")
    for account in accounts:
        counts = [getattr(account, name) for name in used]
        table.add_row(
            account.name,
            *(f"{count:,}" if count else "" for count in counts),
            "yes" if account.balanced else f"NO: {account.difference:+,}",
        )
    return table


def _edge(account: Account) -> bool:
    return account.name.endswith("->")


def _quiet(account: Account) -> bool:
    return account == Account(account.name, received=account.sent, sent=account.sent)
