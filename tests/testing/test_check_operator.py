"""The suite must be able to fail: each broken operator breaks the rule it was made to break."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as rx_ops
from reactivex.disposable import CompositeDisposable, Disposable

from rxotlp import operators as ops
from rxotlp.data import TelemetryData
from rxotlp.schedulers import VirtualScheduler
from rxotlp.testing import ConformanceError, check_operator, check_processor, ids_of, logs

Operator = Callable[[Observable[Any]], Observable[Any]]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest keeps log records, whose exceptions keep elements."""
    monkeypatch.setattr(logging.getLogger("rxotlp"), "disabled", True)


def custom(
    next_: Callable[[abc.ObserverBase[Any], TelemetryData], None],
    *,
    completed: Callable[[abc.ObserverBase[Any]], None] = lambda observer: observer.on_completed(),
    error: Callable[[abc.ObserverBase[Any], Exception], None] = lambda o, e: o.on_error(e),
    dispose: Callable[[], None] | None = None,
) -> Operator:
    """A hand-written operator, in the way people write their first."""

    def apply(source: Observable[Any]) -> Observable[Any]:
        def subscribe(
            observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            upstream = source.subscribe(
                lambda data: next_(observer, data),
                lambda raised: error(observer, raised),
                lambda: completed(observer),
                scheduler=scheduler,
            )
            return CompositeDisposable(upstream, Disposable(dispose)) if dispose else upstream

        return Observable(subscribe)

    return apply


def loses_every_third() -> Operator:
    return rx_ops.filter(lambda data: 3 not in ids_of(data))


def doubles() -> Operator:
    anything: Any = rx_ops
    twice: Operator = anything.flat_map(lambda data: rx.of(data, data.derive(data.to_bytes())))
    return twice


def holds_the_last() -> Operator:
    kept: list[TelemetryData] = []

    def next_(observer: abc.ObserverBase[Any], data: TelemetryData) -> None:
        kept.append(data)
        if len(kept) > 1:
            observer.on_next(kept.pop(0))

    return custom(next_)


def swaps_pairs() -> Operator:
    def apply(source: Observable[Any]) -> Observable[Any]:
        anything: Any = rx_ops
        pairs: Observable[Any] = source.pipe(
            anything.buffer_with_count(2), anything.flat_map(lambda pair: rx.from_(pair[::-1]))
        )
        return pairs

    return apply


def swallows_errors() -> Operator:
    return custom(
        lambda observer, data: observer.on_next(data),
        error=lambda observer, _: observer.on_completed(),
    )


def never_completes() -> Operator:
    return custom(lambda observer, data: observer.on_next(data), completed=lambda _: None)


def makes_from_nothing() -> Operator:
    """Elements of its own are emitted later, outside any emission, so nobody knows of whom."""

    def apply(source: Observable[Any]) -> Observable[Any]:
        anything: Any = rx_ops
        made: Observable[Any] = source.pipe(
            anything.map(lambda data: [data.signal, data.to_bytes()]),
            anything.delay(0.01),
            anything.map(lambda parts: TelemetryData.from_bytes(*parts)),
        )
        return made

    return apply


def keeps_everything() -> Operator:
    seen: list[TelemetryData] = []
    return rx_ops.do_action(seen.append)


def leaves_a_timer() -> Operator:
    def apply(source: Observable[Any]) -> Observable[Any]:
        def subscribe(
            observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            rx.interval(7.0, scheduler=scheduler).subscribe()
            return source.subscribe(observer, scheduler=scheduler)

        return Observable(subscribe)

    return apply


def shares_state_between_subscriptions() -> Operator:
    observers: list[abc.ObserverBase[Any]] = []

    def apply(source: Observable[Any]) -> Observable[Any]:
        def subscribe(
            observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            observers.append(observer)
            return source.subscribe(
                lambda data: observers[0].on_next(data),
                observer.on_error,
                observer.on_completed,
                scheduler=scheduler,
            )

        return Observable(subscribe)

    return apply


def locks_around_emissions() -> Operator:
    lock = threading.RLock()

    def next_(observer: abc.ObserverBase[Any], data: TelemetryData) -> None:
        with lock:
            observer.on_next(data)

    return custom(next_)


def stays_subscribed() -> Operator:
    def apply(source: Observable[Any]) -> Observable[Any]:
        def subscribe(
            observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            source.subscribe(observer, scheduler=scheduler)
            return Disposable()

        return Observable(subscribe)

    return apply


def raises_at_the_fourth() -> Operator:
    def look(data: TelemetryData) -> TelemetryData:
        if 4 in ids_of(data):
            raise ValueError("four")
        return data

    return rx_ops.map(look)


def races_over_a_list() -> Operator:
    """Drops what comes while another thread is inside, as many a hand-made guard does."""
    busy = threading.Lock()

    def next_(observer: abc.ObserverBase[Any], data: TelemetryData) -> None:
        if busy.acquire(blocking=False):
            try:
                observer.on_next(data)
            finally:
                busy.release()

    return custom(next_)


def emits_after_completion() -> Operator:
    last: list[bytes] = []

    def next_(observer: abc.ObserverBase[Any], data: TelemetryData) -> None:
        last[:] = [data.to_bytes()]
        observer.on_next(data)

    def completed(observer: abc.ObserverBase[Any]) -> None:
        observer.on_completed()
        observer.on_completed()

    return unguarded(next_, completed)


def unguarded(
    next_: Callable[[Any, TelemetryData], None], completed: Callable[[Any], None]
) -> Operator:
    """Subscribes in a way that reactivex's own guard against a second end does not see."""

    class Raw(Observable[Any]):
        def __init__(self, source: Observable[Any]) -> None:
            super().__init__()
            self.source_ = source

        def subscribe(self, on_next: Any = None, *rest: Any, **options: Any) -> Any:
            on_error, on_completed = (*rest, None, None)[:2]

            class Through:
                on_next = staticmethod(on_next)
                on_completed = staticmethod(on_completed)

            return self.source_.subscribe(
                lambda data: next_(Through, data),
                on_error,
                lambda: completed(Through),
                scheduler=options.get("scheduler"),
            )

    return Raw


def exports_on_its_own(exporter: Any) -> Operator:
    """A timer of its own goes on exporting, whoever has disposed of the stream."""

    def apply(source: Observable[Any]) -> Observable[Any]:
        def subscribe(
            observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            ticks = rx.interval(5.0, scheduler=scheduler).pipe(rx_ops.take(3))
            ticks.subscribe(lambda tick: exporter.export(logs([tick])))
            return source.pipe(ops.export(exporter)).subscribe(observer, scheduler=scheduler)

        return Observable(subscribe)

    return apply


def acknowledges_at_once() -> Operator:
    return ops.queue(max_out=1, backoff=0.01, linger=1.0)


def forgets_on_disposal() -> Operator:
    """What it holds is reported as filtered instead of failed."""
    return ops.discarding("forgotten", rx_ops.debounce(5.0))


def works_in_virtual_time_only() -> Operator:
    def apply(source: Observable[Any]) -> Observable[Any]:
        def subscribe(
            observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            if not isinstance(scheduler, VirtualScheduler):
                return Disposable()
            return source.subscribe(observer, scheduler=scheduler)

        return Observable(subscribe)

    return apply


def drops_what_comes_meanwhile() -> Operator:
    """A flag that looks like a guard; a thread that comes while it is up loses its element."""
    busy = [False]

    def next_(observer: abc.ObserverBase[Any], data: TelemetryData) -> None:
        if busy[0]:
            return
        busy[0] = True
        time.sleep(0.001)
        observer.on_next(data)
        busy[0] = False

    return custom(next_)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (loses_every_third, "delivers"),
        (doubles, "delivers"),
        (holds_the_last, "delivers"),
        (holds_the_last, "leaks"),
        (swaps_pairs, "order"),
        (swallows_errors, "error"),
        (never_completes, "completion"),
        (makes_from_nothing, "delivers"),
        (keeps_everything, "delivers"),
        (keeps_everything, "leaks"),
        (leaves_a_timer, "timers"),
        (shares_state_between_subscriptions, "re-subscription"),
        (locks_around_emissions, "no lock"),
        (stays_subscribed, "unsubscribe"),
        (raises_at_the_fourth, "completion"),
        (races_over_a_list, "re-entrancy"),
        (emits_after_completion, "completion"),
        (acknowledges_at_once, "failure"),
        (acknowledges_at_once, "rejection"),
        (forgets_on_disposal, "dispose"),
        (works_in_virtual_time_only, "sync"),
        (works_in_virtual_time_only, "asyncio"),
        (drops_what_comes_meanwhile, "threads"),
        (holds_the_last, "books"),
        (lambda: rx_ops.take(2), "delivers"),
        (lambda: rx_ops.delay(0.01), "no lock"),
        (lambda: rx_ops.debounce(0.01), "delivers"),
    ],
)
def test_a_broken_operator_is_found_by_the_rule_it_breaks(
    make: Callable[[], Operator], rule: str
) -> None:
    """A suite that cannot fail says nothing about those that pass."""
    with pytest.raises(ConformanceError) as caught:
        check_operator(make, patience=30.0, seconds=0.3)
    assert rule in caught.value.rules, str(caught.value)


def test_what_exports_after_its_disposal_is_found() -> None:
    """Nobody waits for it any more, and the exporter may be closed."""
    with pytest.raises(ConformanceError) as caught:
        check_operator(exports_on_its_own, exports=True, patience=30.0, seconds=0.3)
    assert {"dispose early", "silence"} <= set(caught.value.rules), str(caught.value)


def test_all_broken_rules_are_reported_with_what_was_seen() -> None:
    """One at a time would make twenty runs of twenty rules."""
    with pytest.raises(ConformanceError) as caught:
        check_operator(holds_the_last, seconds=0.3, name="holds_the_last")
    text = str(caught.value)
    assert text.startswith("holds_the_last breaks ")
    assert "delivers: ids [7] never arrived" in text
    assert len(caught.value.rules) > 2


def test_what_it_may_do_is_forgiven_and_nothing_else() -> None:
    """A filter filters on purpose; that must not hide that it also loses its timer."""
    check_operator(loses_every_third, may={"filter"})
    with pytest.raises(ConformanceError):
        check_operator(
            lambda: rx.compose(loses_every_third(), leaves_a_timer()), may={"filter"}, seconds=0.3
        )
    with pytest.raises(ValueError, match="expected some of filter, drop"):
        check_operator(loses_every_third, may={"lose"})  # type: ignore[arg-type]


def test_processors_are_checked_in_a_chain() -> None:
    """Most people write functions, not operators."""

    def tidy(data: TelemetryData) -> list[TelemetryData]:
        return data.split(max_items=1)

    async def slowly(data: TelemetryData) -> TelemetryData:
        return data

    kept: list[TelemetryData] = []

    def hoards(data: TelemetryData) -> TelemetryData:
        kept.append(data)
        return data

    check_processor(tidy)
    check_processor(slowly)
    with pytest.raises(ConformanceError, match="hoards breaks") as caught:
        check_processor(hoards, seconds=0.3)
    assert "leaks" in caught.value.rules


def test_reactivex_operators_that_keep_the_rules_pass() -> None:
    """They are half of everybody's pipelines."""
    check_operator(lambda: rx_ops.map(lambda data: data))
    check_operator(lambda: rx_ops.share())
    check_operator(lambda: ops.discarding("debounced", rx_ops.debounce(0.01)), may={"drop"})
