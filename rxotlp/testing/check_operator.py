"""`check_operator`: what every operator on telemetry must keep, whoever wrote it.

Each rule subscribes the operator anew, between a feed that counts what its senders hear and
an exporter that notes what arrives, and looks at both afterwards:

    delivers           what is sent arrives, once, and each sender hears so
    order              in order, unless the operator may reorder
    completion         completes once, after what it held; nothing comes after
    error              passes the source's error on, once, after what it held
    failure            a backend's failure reaches the sender, as retryable
    rejection          a backend's refusal reaches the sender, as permanent
    dispose early      disposed before anything came: nothing is left
    dispose            disposed while it holds: what it held fails as retryable
    silence            nothing is emitted or exported after disposal
    unsubscribe        the source is let go of on disposal
    timers             no timer is left, after completion and after disposal
    books              every stage's books balance, and nothing is held
    re-subscription    two subscriptions of one operator know nothing of each other
    re-entrancy        an element fed from within `on_next` is treated like any other
    threads            four threads at once: nothing is lost or doubled
    no lock            no lock is held while it emits
    sync, asyncio      the same on a SyncScheduler and an AsyncScheduler
    leaks              no element outlives its outcome

`may` says what it does on purpose, and nothing else is forgiven.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import get_args

from rxotlp.data import TelemetryData
from rxotlp.operators._described import Described
from rxotlp.operators._shell import Operator
from rxotlp.operators.chain import Processor, chain, check_processors
from rxotlp.testing import _operator_ends, _operator_flow, _operator_runs
from rxotlp.testing._subject import May, Subject
from rxotlp.testing.elements import logs
from rxotlp.testing.rules import try_all

__all__ = ["check_operator", "check_processor"]

RULES = [*_operator_flow.RULES, *_operator_ends.RULES, *_operator_runs.RULES]


def check_operator(
    make: Callable[..., Operator],
    *,
    may: Iterable[May] = (),
    exports: bool = False,
    element: Callable[[Sequence[int]], TelemetryData] = logs,
    patience: float = 600.0,
    seconds: float = 20.0,
    name: str = "",
) -> None:
    """Try every rule on an operator.

    Args:
        make: makes the operator; called often. With `exports` it is called with an exporter,
            and the operator must deliver to it.
        may: what it does on purpose:
            "filter" lets elements or records go (success for the sender),
            "drop" loses some by a policy (success for the sender, and counted),
            "reject" refuses some for good, "fail" refuses some for now,
            "reorder" changes the order, "copy" sends an element on more than once,
            "acknowledge" answers senders before delivery, as a queue does.
        exports: it ends in an exporter of its own and emits Deliveries, as `ops.export` and a
            route into exports do.
        element: makes what it is fed, from ids that `ids_of` can read back.
        patience: virtual seconds after which it must have let go of everything.
        seconds: of the wall clock, for what runs on real threads. What keeps the rules needs
            milliseconds; only something broken is waited for that long.
        name: for messages; `make`'s own by default.

    Raises:
        ConformanceError: some rules are broken; it lists all of them with what was seen.
        ValueError: `may` names something unknown.
        TypeError: `make` makes nothing, an operator instead of what makes it for instance.
    """
    if not callable(make) or isinstance(make, Described):
        raise TypeError(
            f"check_operator({make!r}): expected a function that makes the operator, such as "
            "ops.batch or lambda: ops.batch(max_items=2); each rule has one of its own"
        )
    allowed = frozenset(may)
    unknown = allowed - set(get_args(May))
    if unknown:
        raise ValueError(
            f"check_operator(may={sorted(unknown)}): expected some of {', '.join(get_args(May))}"
        )
    subject = Subject(make, allowed, exports, element, patience, seconds)
    try_all(name or getattr(make, "__qualname__", repr(make)), RULES, subject)


def check_processor(
    processor: Processor,
    *,
    may: Iterable[May] = (),
    element: Callable[[Sequence[int]], TelemetryData] = logs,
    seconds: float = 20.0,
    name: str = "",
) -> None:
    """Try every rule on a processor for `chain`: a plain or `async` function of an element.

    Args:
        processor: called with elements; gives back one, several or None.
        may, element, seconds, name: as for `check_operator`.

    Raises:
        ConformanceError: some rules are broken.
        TypeError: it is no function.
    """
    check_processors("check_processor", (processor,))
    check_operator(
        lambda: chain(processor),
        may=may,
        element=element,
        seconds=seconds,
        name=name or getattr(processor, "__name__", repr(processor)),
    )
