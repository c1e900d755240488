"""What senders sent and heard and a backend took, by id, and what is wrong about it.

lost       acknowledged, and the backend neither took it nor refused it as bad (which a
           queue finds out only after it has acknowledged; the books have it as rejected)
doubled    delivered as far as the exporter knows, and sent again although its sender
           had not sent it again
invented   taken, and nobody had sent it
smuggled   part of a request that the backend refuses as bad, and taken all the same
unanswered sent, and its sender was never told what became of it
"""

import threading
from collections import Counter
from typing import Any

from rxotlp._core.outcomes import Kind, Outcome
from rxotlp.data import TelemetryData
from rxotlp.testing import ids_of

__all__ = ["ITEMS", "Ledger", "Witness", "bad", "spoilt"]

ITEMS = 5  # of a request


def bad(number: int) -> bool:
    """Whether the backend refuses requests with this id as bad data."""
    return number % 500 == 7


def spoilt(number: int) -> bool:
    """Whether an id's request has a bad one in it."""
    first = number - number % ITEMS
    return any(map(bad, range(first, first + ITEMS)))


class Ledger:
    """What was sent, heard and attempted, by id. Used from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent: Counter[int] = Counter()
        self.acknowledged: set[int] = set()
        self.refused: set[int] = set()
        self.delivered: Counter[int] = Counter()  # attempts that succeeded, for all we know
        self.attempts = 0
        self.delivered_items = 0

    def send(self, ids: list[int]) -> None:
        """A sender sends them, for the first time or again."""
        with self._lock:
            self.sent.update(ids)

    def hear(self, ids: list[int], *, acknowledged: bool) -> None:
        """It has heard that they are delivered, or that they never will be."""
        with self._lock:
            (self.acknowledged if acknowledged else self.refused).update(ids)

    def attempt(self, ids: list[int], outcome: Outcome) -> None:
        """The exporter has made an attempt and knows its answer."""
        with self._lock:
            self.attempts += 1
            if outcome.kind is Kind.DELIVERED or outcome.items is not None:
                self.delivered.update(ids)
                self.delivered_items += len(ids) - (outcome.items or 0)

    @property
    def answered(self) -> int:
        """Items whose fate their senders know."""
        with self._lock:
            return len(self.acknowledged) + len(self.refused)

    def faults(self, taken: Counter[int], *, may_be_lost: int = 0) -> list[str]:
        """What is wrong, one line each.

        Args:
            taken: what the backend took, as often as it did.
            may_be_lost: items that were reported as left behind.
        """
        wrong = {
            "lost": [
                number for number in self.acknowledged if not taken[number] and not spoilt(number)
            ],
            "doubled": [
                number for number, times in self.delivered.items() if times > self.sent[number]
            ],
            "invented": [number for number in taken if number not in self.sent],
            "smuggled": [number for number in taken if bad(number)],
            "unanswered": list(set(self.sent) - self.acknowledged - self.refused),
        }
        if len(wrong["lost"]) <= may_be_lost:
            del wrong["lost"]
        return [f"{len(ids)} {kind}: {sorted(ids)[:5]}" for kind, ids in wrong.items() if ids]


class Witness:
    """An exporter that notes what another one makes of every attempt."""

    def __init__(self, exporter: Any, ledger: Ledger) -> None:
        self._exporter = exporter
        self._ledger = ledger

    async def export(self, data: TelemetryData) -> Outcome:
        """One attempt of the other's."""
        ids = ids_of(data)
        outcome: Outcome = await self._exporter.export(data)
        self._ledger.attempt(ids, outcome)
        return outcome

    def close(self) -> None:
        """Close the other."""
        self._exporter.close()

    async def aclose(self) -> None:
        """The same, from a coroutine."""
        await self._exporter.aclose()
