"""`rxotlp bench`: variants of a pipeline, alternately on the same telemetry, and compared."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from rxotlp.bench import Comparison, Variant, Workload, compare, workload
from rxotlp.bench.files import MISSING, PICTURES, can_draw, check_path
from rxotlp.bench.grid import as_variant
from rxotlp.bench.table import books as books_of
from rxotlp.bench.table import rich_text
from rxotlp.cli.loading import find
from rxotlp.cli.logs import LogFormat, LogLevel, log_to_stderr
from rxotlp.cli.status import Status, exit_with, say
from rxotlp.errors import UsageError
from rxotlp.wire.signals import Signal

__all__ = ["bench"]

INTERRUPTED = 128 + signal.SIGINT  # as shells have it


def bench(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:VARIANTS",
            help="Functions (source) -> stream by name, a grid that variants() made, or one "
            "function, in a module, which may be in the current directory.",
            show_default=False,
        ),
    ],
    work: Annotated[
        list[str] | None,
        typer.Option(
            "--workload",
            "-w",
            metavar="traces|metrics|logs|FILE",
            help="What every run is given: generated telemetry (repeatable, for several signals "
            "in turn) or a file that `rxotlp send` takes; traces by default.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Run this variant alone. Repeatable.", show_default=False
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option(min=1, help="Of each variant; fewer than 9 show no difference.")
    ] = 10,
    time: Annotated[float, typer.Option(help="Seconds for all of it.")] = 60.0,
    items: Annotated[
        int | None,
        typer.Option(
            help="Items of a run; as many as there is time for otherwise.", show_default=False
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Items a second to offer; as fast as they are taken otherwise.",
            show_default=False,
        ),
    ] = None,
    items_per_request: Annotated[int, typer.Option(help="Of generated telemetry.")] = 512,
    seed: Annotated[int, typer.Option(help="Of generated telemetry.")] = 0,
    signal_of_file: Annotated[
        Signal | None,
        typer.Option(
            "--signal", help="Whose requests a file of protobuf messages has.", show_default=False
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that one run may take.")] = 60.0,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write it there too: .json, .txt, .png or .svg. Repeatable.",
            show_default=False,
        ),
    ] = None,
    books: Annotated[bool, typer.Option("--books", help="Print every variant's books.")] = False,
) -> None:
    """Compare variants of a pipeline: throughput, CPU, latency, memory, batches, books.

    Each run has a process of its own; variants alternate. Ctrl-C ends it early: what there
    is by then is printed and written.

    Example: rxotlp bench variants:grid --time 30 -o grid.json -o grid.svg

    Exit status: 0 good, 1 a variant failed or something could not be written, 2 wrong usage,
    130 interrupted.
    """
    log_to_stderr(LogLevel.WARNING, LogFormat.TEXT)
    paths = output or []
    # SIGINT too: where a shell starts a job in the background, it is ignored.
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        for path in paths:
            check_path("--output", path)
        good = _warned(paths)
        found = compare(
            _variants(target),
            _workload(
                work or ["traces"],
                items=items,
                rate=rate,
                items_per_request=items_per_request,
                seed=seed,
                signal=signal_of_file,
            ),
            runs=runs,
            time=time,
            only=only,
            timeout=timeout,
        )
        unknown = set(only or ()) - set(found.variants)
    except (UsageError, ValueError, TypeError) as error:
        raise exit_with(Status.USAGE, error) from None
    except KeyboardInterrupt:
        say("interrupted before anything was measured")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    _print(found, books=books)
    good = _written(found, paths) and good
    if found.interrupted:
        say("interrupted; this is what there was")
        raise typer.Exit(INTERRUPTED)
    failed = any(one.problem is not None or not one.runs for one in found.variants.values())
    raise typer.Exit(Status.FAILED if failed or unknown or not good else Status.GOOD)


def _variants(target: str) -> Mapping[str, Variant]:
    found = find(target)
    if isinstance(found, Mapping):
        if not found:
            raise UsageError(f"{target}: it has no variants")
        return {str(name): as_variant(str(name), one) for name, one in found.items()}
    if not isinstance(found, Variant) and (not callable(found) or isinstance(found, type)):
        raise UsageError(
            f"{target}: expected functions (source) -> stream by name, or one of them, got "
            f"{type(found).__name__}"
        )
    name = target.partition(":")[2]
    return {name: as_variant(name, found)}


def _workload(
    what: list[str],
    *,
    items: int | None,
    rate: float | None,
    items_per_request: int,
    seed: int,
    signal: Signal | None,
) -> Workload:
    return workload(
        what[0] if len(what) == 1 else what,
        items=items,
        rate=rate,
        items_per_request=items_per_request,
        seed=seed,
        signal=signal,
    )


def _warned(paths: list[Path]) -> bool:
    """Say what cannot be written before anybody waits for it; whether all can."""
    pictures = [str(path) for path in paths if path.suffix.lower() in PICTURES]
    if pictures and not can_draw():
        say(f"{', '.join(pictures)}: {MISSING}; the rest is done without")
        return False
    return True


def _print(found: Comparison, *, books: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        typer.echo(str(found), nl=False)
    else:
        console.print(rich_text(found))
    if books:
        typer.echo(f"\n{books_of(found)}")


def _written(found: Comparison, paths: list[Path]) -> bool:
    """Whether all of them could be."""
    good = True
    for path in paths:
        try:
            found.save(path)
        except ImportError:
            continue  # has been said
        except OSError as error:
            say(f"{path}: {error.strerror or error}")
            good = False
    return good
