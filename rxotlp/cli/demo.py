"""`rxotlp demo`: a gateway at work on a real program, every record accounted for."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from rxotlp.cli.logs import LogFormat, LogLevel, log_to_stderr
from rxotlp.cli.status import Status, exit_with
from rxotlp.errors import OtlpError

__all__ = ["demo"]


class What(enum.StrEnum):
    """What is shown."""

    GATEWAY = "gateway"
    FLOWS = "flows"


def demo(
    what: Annotated[
        What,
        typer.Argument(
            help="gateway: a real program's telemetry through a gateway. flows: a shop's orders "
            "as operations, executed by every flow under a load that rises and falls."
        ),
    ] = What.GATEWAY,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="How long the instrumented program sends.")
    ] = 5.0,
    records: Annotated[
        int | None, typer.Option(min=1, help="End after so many records instead.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where everything goes; a temporary directory by default."
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Stay up on ports 4317 and 4318 for your own program.")
    ] = False,
) -> None:
    """Show a gateway at work on a real program, and account for every record by its id.

    `rxotlp demo flows` shows operations, flows and schedulers instead, in virtual time; of the
    options it takes --output, for the picture of what its scheduler decided.

    Exit status: 0 when every record that was sent is where it belongs, else 1.
    """
    from rxotlp.demo import main as demo_main

    log_to_stderr(LogLevel.WARNING, LogFormat.TEXT)
    if what is What.FLOWS:
        from rxotlp.demo import flows

        raise typer.Exit(Status.GOOD if flows.main(output=output) else Status.FAILED)
    try:
        good = demo_main.main(seconds=seconds, records=records, output=output, serve=serve)
    except (OtlpError, OSError, ValueError) as error:
        raise exit_with(Status.FAILED, error) from None
    raise typer.Exit(Status.GOOD if good else Status.FAILED)
