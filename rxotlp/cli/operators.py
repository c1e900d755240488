"""`rxotlp operators`: what there is for a pipeline, ours and that of installed plug-ins.

What is shown is the signature and the docstring, with its marble diagram and example, so it
cannot differ from what is installed.
"""

import difflib
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rxotlp import operators as our_operators
from rxotlp import processors as our_processors
from rxotlp.cli.status import Status, exit_with
from rxotlp.errors import UsageError
from rxotlp.plugins import plugins
from rxotlp.processors import conditions

__all__ = ["operators"]

OURS = "rxotlp"

_PATH = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")  # where a type is from; its name is enough


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    kind: str
    origin: str
    signature: str
    doc: str
    error: str | None

    @property
    def meaning(self) -> str:
        """One line."""
        if self.error is not None:
            return f"cannot be imported: {self.error}"
        return self.doc.partition("\n")[0]


def _complete(incomplete: str) -> list[str]:
    return sorted({entry.name for entry in _entries() if entry.name.startswith(incomplete)})


def operators(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="Show all of this one; without it, one line for each.",
            show_default=False,
            autocompletion=_complete,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead, for programs.")
    ] = False,
) -> None:
    """Show the operators and processors that are installed, plug-ins among them.

    Operators are what a stream's `pipe` takes; selectors are what `ops.route` goes by;
    processors are what `ops.chain` takes. A plug-in is a distribution with entry points in
    `rxotlp.operators` or `rxotlp.processors`; one that cannot be imported is listed with
    its error.

    Example: rxotlp operators batch

    Exit status: 0 good, 1 NAME cannot be imported, 2 there is no NAME.
    """
    entries = _entries()
    if name is not None:
        found = [entry for entry in entries if entry.name == name]
        if not found:
            raise exit_with(Status.USAGE, UsageError(_unknown(name, entries)))
        entries = found
    if as_json:
        typer.echo(json.dumps([_as_json(entry) for entry in entries], indent=2))
    elif name is None:
        _print_table(entries)
    else:
        typer.echo("\n\n".join(_page(entry) for entry in entries))
    if name is not None and all(entry.error is not None for entry in entries):
        raise typer.Exit(Status.FAILED)


def _entries() -> list[_Entry]:
    found = []
    for kind, module in (("operator", our_operators), ("processor", our_processors)):
        for name, value in _functions(module):
            part = "selector" if hasattr(value, "is_selector") else kind
            found.append(_entry(name, part, OURS, value))
        for plugin in plugins(f"{kind}s"):
            if plugin.value is None:
                found.append(_Entry(plugin.name, kind, plugin.distribution, "", "", plugin.error))
            else:
                found.append(_entry(plugin.name, kind, plugin.distribution, plugin.value))
    return found


def _functions(module: ModuleType) -> list[tuple[str, Callable[..., Any]]]:
    """The public functions of a package; conditions are no processors."""
    return [
        (name, value)
        for name in module.__all__
        if isinstance(value := getattr(module, name), FunctionType)
        and value.__module__ != conditions.__name__
    ]


def _entry(name: str, kind: str, origin: str, value: Callable[..., Any]) -> _Entry:
    try:
        signature = _PATH.sub("", str(inspect.signature(value)))
    except (TypeError, ValueError):
        signature = "(...)"  # written in C
    return _Entry(name, kind, origin, signature, inspect.getdoc(value) or "", None)


def _unknown(name: str, entries: list[_Entry]) -> str:
    near = difflib.get_close_matches(name, [entry.name for entry in entries], n=1, cutoff=0.6)
    hint = f"is it {near[0]}?" if near else "`rxotlp operators` lists them"
    return f"no operator or processor {name!r}; {hint}"


def _as_json(entry: _Entry) -> dict[str, str | None]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "from": entry.origin,
        "signature": entry.signature or None,
        "meaning": entry.doc.partition("\n")[0] or None,
        "doc": entry.doc or None,
        "error": entry.error,
    }


def _page(entry: _Entry) -> str:
    head = f"{entry.kind} {entry.name}, from {entry.origin}"
    if entry.error is not None:
        return f"{head}\n\n{entry.meaning}"

    return f"{head}\n\n{entry.name}{entry.signature}\n\n{entry.doc}"


def _print_table(entries: list[_Entry]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("name", "kind", "from"):
        table.add_column(column, no_wrap=True)
    table.add_column("does")
    for entry in entries:
        table.add_row(entry.name, entry.kind, entry.origin, entry.meaning)
    Console(markup=False, highlight=False, emoji=False).print(table)
