"""What is compared: pipelines as functions of their source, one by one or as a grid.

A variant is a function `(source) -> stream`. That is what every operator is, so
`ops.batch()` and `rx.compose(...)` are variants as they stand; and a function of your own
may end the stream with any exporter, or make a whole `Pipeline`.
"""

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from reactivex import Observable

from rxotlp.data import TelemetryData
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import SerialScheduler, VirtualScheduler

__all__ = ["SCHEDULERS", "Function", "Scheduler", "Variant", "Variants", "as_variant", "variants"]

SCHEDULERS = ("sync", "async")

Function = Callable[[Observable[TelemetryData]], Observable[Any] | Pipeline]
Scheduler = str | Callable[[], SerialScheduler]


@dataclass(frozen=True, slots=True)
class Variant:
    """A pipeline function and where it runs.

    Args:
        pipeline: `(source) -> stream`, or `(source) -> Pipeline`, of which the stream and
            the scheduler are taken. Called twice for every run, to warm up and to be
            measured, in a process of its own. Telemetry that comes out at its end is made
            bytes of and goes nowhere; what it exports itself is exported.
        scheduler: "sync" (a thread of its own, as in `with Pipeline(...)`), "async" (an
            asyncio loop, uvloop's where it is installed, as `rxotlp run` has it), or a
            function that makes a scheduler. A scheduler of a Pipeline's own comes first.

    Attributes:
        choices: what a grid gave the function, by the argument's name.
    """

    pipeline: Function
    scheduler: Scheduler = "sync"
    choices: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_pipeline("Variant", self.pipeline)
        check_scheduler("Variant", self.scheduler)

    @property
    def where(self) -> str:
        """The scheduler's name."""
        return _label(self.scheduler)


def as_variant(name: str, given: object) -> Variant:
    """What a mapping of variants has under `name`.

    Raises:
        TypeError: it is no function.
    """
    if isinstance(given, Variant):
        return given
    check_pipeline(f"variant {name!r}: ", given)
    return Variant(given)  # type: ignore[arg-type]


def check_pipeline(call: str, given: object) -> None:
    """Raise when `given` is no function of a source."""
    if isinstance(given, Pipeline | Observable):
        raise TypeError(
            f"{call}({given!r}): expected a function (source) -> stream; this one has a source "
            "of its own, and every run needs a new stream on the bench's"
        )
    if isinstance(given, type) or not callable(given):
        raise TypeError(
            f"{call}({given!r}): expected a function (source) -> stream, got "
            f"{given.__name__ if isinstance(given, type) else type(given).__name__}"
        )


def check_scheduler(call: str, given: object) -> None:
    """Raise when `given` is no name of a scheduler and makes none."""
    if isinstance(given, SerialScheduler):
        raise TypeError(
            f"{call}(scheduler={given!r}): expected a function that makes one, such as its "
            "class; every run has its own"
        )
    if given is VirtualScheduler:
        raise ValueError(f"{call}(scheduler=VirtualScheduler): virtual time has no speed")
    if not (callable(given) or given in SCHEDULERS):
        raise ValueError(
            f"{call}(scheduler={given!r}): expected one of {', '.join(SCHEDULERS)}, or a "
            "function that makes a scheduler"
        )


class Variants(Mapping[str, Variant]):
    """Variants by name, as `compare` takes them; made by `variants`."""

    def __init__(self, made: Mapping[str, Variant]) -> None:
        self._made = dict(made)

    def __getitem__(self, name: str) -> Variant:
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)

    def __repr__(self) -> str:
        return f"<Variants: {'; '.join(self._made)}>"


def variants(
    *, scheduler: Iterable[Scheduler] = ("sync",), **choices: Iterable[Any]
) -> Callable[[Callable[..., Observable[Any] | Pipeline]], Variants]:
    """A grid from one pipeline function: a variant for every combination.

    ```python
    @variants(scheduler=["sync", "async"], max_items=[512, 8192])
    def gateway(source, max_items):
        return source.pipe(ops.batch(max_items=max_items))
    ```

    Args:
        scheduler: where to run, see `Variant`.
        choices: what to give the function besides the source, by the argument's name; a
            list of values each.

    Returns:
        A decorator. The function it is given becomes `Variants`; the first of them, with the
        first of all values, is what the others are compared with.

    Raises:
        ValueError: a list without values, or one with a value twice; an argument that the
            function does not have.
        TypeError: values that are no list.
    """
    listed: dict[str, dict[str, Any]] = {}
    for name, values in {"scheduler": scheduler, **choices}.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"variants({name}={values!r}): expected a list of values")
        known = listed[name] = {}
        for value in values:
            if name == "scheduler":
                check_scheduler("variants", value)
            label = _label(value)
            if label in known:
                raise ValueError(
                    f"variants({name}=...): {label} twice; nobody could tell them apart"
                )
            known[label] = value
        if not known:
            raise ValueError(f"variants({name}=[]): expected a value or more")

    def decorate(function: Callable[..., Observable[Any] | Pipeline]) -> Variants:
        check_pipeline("variants", function)
        _check_arguments(function, choices)
        shown = [name for name, known in listed.items() if len(known) > 1]
        made: dict[str, Variant] = {}
        for labels in itertools.product(*listed.values()):
            chosen = dict(zip(listed, labels, strict=True))
            values = {name: listed[name][label] for name, label in chosen.items()}
            where = values.pop("scheduler")
            title = ", ".join(
                chosen[name] if name == "scheduler" else f"{name}={chosen[name]}" for name in shown
            )
            made[title or getattr(function, "__name__", "variant")] = Variant(
                partial(function, **values), where, values
            )
        return Variants(made)

    return decorate


def _check_arguments(function: Callable[..., Any], choices: Mapping[str, Any]) -> None:
    try:
        inspect.signature(function).bind(None, **choices)
    except TypeError as error:
        name = getattr(function, "__name__", "the function")
        raise ValueError(
            f"variants({', '.join(f'{choice}=...' for choice in choices)}): {name} cannot be "
            f"called with a source and these: {error}"
        ) from None


def _label(value: object) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", None) or repr(value)
