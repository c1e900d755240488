"""Groups of operations that run at once: one that has or awaits its slot, and all together."""

from asyncio import CancelledError
from collections.abc import Callable

from rxotlp.errors import GroupsFailed
from rxotlp.flows import results
from rxotlp.flows._execution import Done, Execution, Handle
from rxotlp.flows._interpreter import Machine
from rxotlp.flows.results import ExecutionResult
from rxotlp.flows.state import ControlState
from rxotlp.schedulers import SerialScheduler

__all__ = ["InSlot", "Together"]


class InSlot(Handle):
    """A group that waits for its slot, or runs in it."""

    def __init__(
        self,
        machine: Machine,
        state: ControlState,
        scheduler: SerialScheduler,
        done: Done | None,
    ) -> None:
        super().__init__(done)
        self._machine = machine
        self._state = state
        self._scheduler = scheduler
        self._execution: Execution | None = None
        self._cancelled = False

    def begin(self, free: Callable[[], object]) -> bool:
        """Run, and call `free` at the end; False when it was cancelled before."""
        if self._cancelled:
            return False

        def done(result: ExecutionResult | None, error: BaseException | None) -> None:
            try:
                self.end(result, error)  # first: it may cancel those that would be next
            finally:
                free()

        self._execution = Execution(self._machine, self._state, self._scheduler, done)
        return True

    def fail(self, error: Exception) -> None:
        """It never gets its slot."""
        if not self._cancelled:
            self._cancelled = True
            self._machine.close()
            self.end(None, error)

    def cancel(self) -> None:
        self._scheduler.post(self.cancel_now)

    def cancel_now(self) -> None:
        """The same as `cancel`, in the scheduler's turn."""
        if self._execution is not None:
            self._execution.cancel()
        elif not self._cancelled:
            self._cancelled = True
            self._machine.close()
            self.end(None, CancelledError())


class Together(Handle):
    """Several groups, whose results become one.

    Attributes:
        members: their handles, for `cancel`.
    """

    def __init__(self, count: int, *, cancel_others: bool, as_finished: bool) -> None:
        super().__init__()
        self.members: list[InSlot] = []
        self._count = self._left = count
        self._cancel_others = cancel_others
        self._as_finished = as_finished
        self._results: dict[int, results.Group] = {}
        self._errors: dict[int, BaseException] = {}
        if not count:
            self.end(results.Batch(()), None)

    def one_done(self, number: int) -> Done:
        """What the group of this number calls when it is done."""

        def done(result: ExecutionResult | None, error: BaseException | None) -> None:
            if error is None:
                assert isinstance(result, results.Batch)
                self._results[number] = results.Group(result.results)
            else:
                self._errors[number] = error
                if self._cancel_others and isinstance(error, Exception):
                    for member in self.members:
                        member.cancel_now()
            self._left -= 1
            if not self._left:
                self._all_done()

        return done

    def cancel(self) -> None:
        for member in self.members:
            member.cancel()

    def _all_done(self) -> None:
        failed = [
            error for _, error in sorted(self._errors.items()) if isinstance(error, Exception)
        ]
        if failed:
            text = f"{len(failed)} of {self._count} groups failed"
            self.end(None, GroupsFailed(text, failed, self._results))
        elif self._errors:
            self.end(None, CancelledError())
        else:
            done = self._results if self._as_finished else dict(sorted(self._results.items()))
            self.end(results.Batch(tuple(done.values())), None)
