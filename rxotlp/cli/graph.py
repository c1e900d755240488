"""`rxotlp graph`: the picture of a pipeline, which is not started for it."""

from typing import Annotated

import typer

from rxotlp.cli.loading import load
from rxotlp.cli.logs import LogFormat, LogLevel, log_to_stderr
from rxotlp.cli.status import Status, exit_with
from rxotlp.errors import OtlpError, UsageError

__all__ = ["graph"]


def graph(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:ATTR",
            help="A stream or a Pipeline in a module, which may be in the current directory.",
            show_default=False,
        ),
    ],
) -> None:
    """Print a pipeline as a Mermaid flowchart, without starting it.

    Sources are round, exporters are cylinders, branches are named on their arrows, and an
    arrow that passes through native operators is dotted.

    Example: rxotlp graph gateway:pipeline > gateway.mmd

    Exit status: 0 good, 1 it cannot be assembled, 2 wrong usage.
    """
    log_to_stderr(LogLevel.WARNING, LogFormat.TEXT)
    try:
        drawn = load(target).to_mermaid()
    except UsageError as error:
        raise exit_with(Status.USAGE, error) from None
    except (OtlpError, OSError, ValueError) as error:
        raise exit_with(Status.FAILED, error) from None
    typer.echo(drawn, nl=False)
