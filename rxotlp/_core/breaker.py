"""When to stop asking a destination that does not answer, and when to ask again.

    CLOSED ----- `failures` in a row -----> OPEN
       ^                                     |  `open_for` seconds, or what it asked for
       |                                     v
       +--------- one success --------- HALF_OPEN ---- one failure ----> OPEN

While it is open nothing passes. Half-open lets up to `probes` be under way at once; a probe
that has no answer after `open_for` seconds is forgotten, so one that hangs blocks nobody for
ever.

Every permission carries a ticket, and a change of state makes the tickets before it void:
what was let in before is no news about what happened since. No clock, no timer; the caller
brings the time.
"""

import enum

__all__ = ["Breaker", "State"]

PROBING = 1.0  # seconds that those who come while probes are under way are told to wait


class State(enum.Enum):
    """See the module's text."""

    CLOSED = "closed"
    HALF_OPEN = "half open"
    OPEN = "open"


class Breaker:
    """One destination's breaker.

    Args:
        failures: in a row, that open it.
        open_for: seconds that it stays open.
        probes: under way at once while it is half open.

    Attributes:
        state: as of the last call.
        ticket: of permissions that are given now.
    """

    __slots__ = (
        "_failed",
        "_failures",
        "_open_for",
        "_out",
        "_probes",
        "_until",
        "state",
        "ticket",
    )

    def __init__(self, *, failures: int, open_for: float, probes: int) -> None:
        self._failures = failures
        self._open_for = open_for
        self._probes = probes
        self.state = State.CLOSED
        self.ticket = 0
        self._failed = 0  # in a row
        self._out = 0  # probes under way
        self._until = 0.0  # open: when it ends; half open: when probes are forgotten

    def ask(self, now: float) -> float | None:
        """May one pass? None: yes, under the current `ticket`. Else the seconds to wait."""
        if self.state is State.CLOSED:
            return None
        if self.state is State.OPEN:
            if now < self._until:
                return self._until - now
            self._become(State.HALF_OPEN)
        elif self._out >= self._probes:
            if now < self._until:
                return min(self._until - now, PROBING)
            self._become(State.HALF_OPEN)
        self._out += 1
        self._until = now + self._open_for
        return None

    def heard(
        self, ticket: int, success: bool | None, now: float, *, asked: float | None = None
    ) -> None:
        """What became of one that passed.

        Args:
            ticket: the one it passed under.
            success: the destination answered; None when nobody asked it.
            now: seconds on any clock that does not go back.
            asked: seconds that the destination asked to wait, if it did.
        """
        if ticket != self.ticket:
            return
        if self.state is State.HALF_OPEN:
            self._out -= 1
            if success is not None:
                self._settle(success, now, asked)
        elif success is False:
            self._failed += 1
            if self._failed >= self._failures:
                self._settle(False, now, asked)
        elif success:
            self._failed = 0

    def _settle(self, success: bool, now: float, asked: float | None) -> None:
        self._become(State.CLOSED if success else State.OPEN)
        if not success:
            self._until = now + max(self._open_for, asked or 0.0)

    def _become(self, state: State) -> None:
        self.state = state
        self.ticket += 1
        self._failed = self._out = 0
