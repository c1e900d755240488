"""How a command ends: its exit status, and the one line on stderr that says why.

exit status   0  everything that came in is accounted for and was answered
              1  it could not start, or the stream ended with an error
              2  the command line or MODULE:ATTR cannot be followed
              3  something was undelivered at the drain's deadline, or given up
              4  books do not balance: a defect of rxotlp or of a stage built on it
"""

import enum
from collections.abc import Iterable

import typer

from rxotlp.drain import Report
from rxotlp.pipeline import Pipeline

__all__ = ["Status", "exit_with", "say", "status_of", "worst"]


class Status(enum.IntEnum):
    """How a run ended, for the shell."""

    GOOD = 0
    FAILED = 1
    USAGE = 2
    UNDELIVERED = 3
    UNBALANCED = 4


_FROM_BAD_TO_WORSE = (
    Status.GOOD,
    Status.UNDELIVERED,
    Status.UNBALANCED,
    Status.FAILED,
    Status.USAGE,
)


def status_of(pipeline: Pipeline, report: Report, *, tell: bool = True) -> Status:
    """The status that a pipeline which has run comes to.

    Args:
        pipeline: stopped.
        report: its.
        tell: say what is undelivered, and where.
    """
    if pipeline.error is not None:
        return Status.FAILED
    if report.unbalanced:
        return Status.UNBALANCED
    if report.undelivered:
        if tell:
            say(report)
        return Status.UNDELIVERED
    return Status.GOOD


def worst(statuses: Iterable[int]) -> Status:
    """The status of a run of several processes; one that is not ours (a signal) is a failure."""
    known = [
        Status(status) if status in Status.__members__.values() else Status.FAILED
        for status in statuses
    ]
    return max(known, key=_FROM_BAD_TO_WORSE.index, default=Status.GOOD)


def say(text: object) -> None:
    """One line on stderr."""
    typer.echo(f"rxotlp: {text}", err=True)


def exit_with(status: Status, error: Exception) -> typer.Exit:
    """Say what went wrong; the exception to raise for it."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    say(reason)
    return typer.Exit(status)
