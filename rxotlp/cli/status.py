"""How a command ends: its exit status, and the one line on stderr that says why.

exit status   0  everything that came in is accounted for and was answered
              1  it could not start, or the stream ended with an error
              2  the command line or MODULE:ATTR cannot be followed
              3  something was undelivered at the drain's deadline, or given up
              4  books do not balance: a defect of rxotlp or of a stage built on it
"""

import enum

import typer

from rxotlp._core.text import printable
from rxotlp.drain import Report
from rxotlp.pipeline import Pipeline

__all__ = ["Status", "exit_with", "say", "status_of"]


class Status(enum.IntEnum):
    """How a run ended, for the shell."""

    GOOD = 0
    FAILED = 1
    USAGE = 2
    UNDELIVERED = 3
    UNBALANCED = 4


def status_of(pipeline: Pipeline, report: Report) -> Status:
    """The status that a pipeline which has run comes to."""
    if pipeline.error is not None:
        return Status.FAILED
    if report.unbalanced:
        return Status.UNBALANCED
    if report.undelivered:
        say(report)
        return Status.UNDELIVERED
    return Status.GOOD


def say(text: object) -> None:
    """One line on stderr, whatever is in `text`."""
    typer.echo(f"rxotlp: {printable(str(text))}", err=True)


def exit_with(status: Status, error: Exception) -> typer.Exit:
    """Say what went wrong; the exception to raise for it."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    say(reason)
    return typer.Exit(status)
