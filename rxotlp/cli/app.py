"""The `rxotlp` command: which commands there are. Each lives in a module of its name.

Whatever goes wrong is one line on stderr; results are all that goes to stdout.
"""

import typer

from rxotlp.cli.bench import bench
from rxotlp.cli.convert import convert
from rxotlp.cli.demo import demo
from rxotlp.cli.generate import generate
from rxotlp.cli.graph import graph
from rxotlp.cli.inspect import inspect
from rxotlp.cli.operators import operators
from rxotlp.cli.run import run
from rxotlp.cli.send import send

__all__ = ["app"]

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reactive stream processing for OpenTelemetry data.",
)
for command in (run, demo, generate, send, convert, inspect, graph, operators, bench):
    app.command()(command)
