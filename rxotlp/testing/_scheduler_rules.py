"""Rules for every scheduler of reactivex's kind; see `check_scheduler`."""

import gc
import logging
import sys
import threading
import time
import weakref
from typing import Any

import reactivex as rx
from reactivex import operators as rx_ops
from reactivex.disposable import BooleanDisposable

from rxotlp.testing._stand import Stand
from rxotlp.testing.rules import Rule, expect

__all__ = ["RULES"]


def runs(stand: Stand) -> None:
    seen: list[Any] = []
    for number in range(5):
        stand.scheduler.schedule(lambda scheduler, state: seen.append((scheduler, state)), number)
    stand.until(lambda: len(seen) == 5, f"{len(seen)} of 5 actions ran")
    stand.pause(2)
    states = sorted(state for _, state in seen)
    expect(states == [0, 1, 2, 3, 4], f"five actions ran as {states}")
    expect(hasattr(seen[0][0], "schedule"), f"an action was given {seen[0][0]!r} as its scheduler")


def due(stand: Stand) -> None:
    order: list[str] = []
    late: list[float] = []
    began = stand.scheduler.now

    def timer(scheduler: Any, _state: Any) -> None:
        late.append((scheduler.now - began).total_seconds())
        order.append("timer")

    stand.scheduler.schedule_relative(2 * stand.unit, timer)
    order.append("armed")
    stand.until(lambda: len(order) == 2, "a timer never ran")
    expect(order == ["armed", "timer"], "a timer ran inside the call that armed it")
    expect(late[0] >= 2 * stand.unit * 0.99, f"due after {2 * stand.unit} s, ran after {late[0]}")
    absolute: list[float] = []
    when = stand.scheduler.now + stand.scheduler.to_timedelta(2 * stand.unit)
    stand.scheduler.schedule_absolute(
        when, lambda scheduler, _: absolute.append((scheduler.now - when).total_seconds())
    )
    stand.until(lambda: bool(absolute), "an absolute timer never ran")
    expect(absolute[0] >= -0.001, f"an absolute timer ran {-absolute[0]} s early")


def timer_order(stand: Stand) -> None:
    order: list[str] = []

    def arm(scheduler: Any, _state: Any) -> None:
        now = scheduler.now
        later = now + scheduler.to_timedelta(2 * stand.unit)
        for name, when in (("c", later), ("a", now), ("d", later), ("b", now)):
            scheduler.schedule_absolute(when, lambda _, state: order.append(state), name)

    stand.scheduler.schedule(arm)
    stand.until(lambda: len(order) == 4, f"of four timers only {order} ran")
    expect("".join(order) == "abcd", f"timers a, b, c, d ran in the order {', '.join(order)}")


def cancel(stand: Stand) -> None:
    ran: list[str] = []
    stand.scheduler.schedule_relative(3 * stand.unit, lambda *_: ran.append("cancelled")).dispose()
    stand.scheduler.schedule_relative(5 * stand.unit, lambda *_: ran.append("kept"))
    stand.until(lambda: "kept" in ran, "a timer never ran")
    expect(ran == ["kept"], "a timer ran although it had been disposed of before it was due")


def handle(stand: Stand) -> None:
    inner, ran = BooleanDisposable(), list[int]()

    def action(_scheduler: Any, _state: Any) -> BooleanDisposable:
        ran.append(1)
        return inner

    outer = stand.scheduler.schedule_relative(stand.unit, action)
    stand.until(lambda: bool(ran), "a timer never ran")
    stand.pause(1)
    outer.dispose()
    expect(inner.is_disposed, "the handle of an action that ran did not dispose what it returned")


def no_overlap(stand: Stand) -> None:
    inside = threading.Lock()
    overlaps: list[int] = []
    ran: list[int] = []

    def action(_scheduler: Any, _state: Any) -> None:
        if inside.acquire(blocking=False):
            time.sleep(0.002)
            inside.release()
        else:
            overlaps.append(1)
        ran.append(1)

    def ask() -> None:
        for _ in range(10):
            stand.scheduler.schedule(action)
            stand.scheduler.schedule_relative(stand.unit, action)

    if stand.virtual:
        ask()
        wanted = 20
    else:
        threads = [stand.from_thread(ask) for _ in range(4)]
        for thread in threads:
            thread.join(stand.seconds)
        wanted = 80
    stand.until(lambda: len(ran) == wanted, f"{len(ran)} of {wanted} actions ran")
    expect(not overlaps, f"{len(overlaps)} of {wanted} actions ran while another one did")


def survives_a_raise(stand: Stand) -> None:
    ran: list[int] = []
    with _Ears():
        stand.scheduler.schedule_relative(stand.unit, _raise)
        stand.scheduler.schedule_relative(3 * stand.unit, lambda *_: ran.append(1))
        stand.until(
            lambda: bool(ran), "after an action raised, none ran any more: the next one did not"
        )


def reports_a_raise(stand: Stand) -> None:
    with _Ears() as ears:
        stand.scheduler.schedule_relative(stand.unit, _raise)
        heard = stand.reached(lambda: bool(ears.heard), within=min(stand.seconds, 2.0))
        expect(heard, "an action raised, and nobody heard: no log record, no hook was called")


def no_blocked_timers(stand: Stand) -> None:
    """As many timers as any pool has threads, and then an action that is due now."""
    ran: list[float] = []
    for _ in range(200):
        stand.scheduler.schedule_relative(25 * stand.unit, lambda *_: None)
    began = time.monotonic()
    stand.scheduler.schedule(lambda *_: ran.append(time.monotonic() - began))
    stand.until(lambda: bool(ran), "an action behind 200 armed timers did not run")
    expect(
        ran[0] < 20 * stand.unit,
        f"an action that could run at once waited {ran[0]:.2f} s behind timers that were not due",
    )
    stand.pause(30)


def few_threads(stand: Stand) -> None:
    before = threading.active_count()
    timers = [
        stand.scheduler.schedule_relative(10 * stand.unit, lambda *_: None) for _ in range(100)
    ]
    more = threading.active_count() - before
    for timer in timers:
        timer.dispose()
    stand.pause(12)
    expect(more < 50, f"100 timers started {more} threads")


def periodic(stand: Stand) -> None:
    ticks: list[int] = []

    def tick(state: Any) -> Any:
        ticks.append(state)
        return state + 1

    running = stand.scheduler.schedule_periodic(stand.unit, tick, 0)
    stand.until(lambda: len(ticks) >= 3, f"a periodic action ran {len(ticks)} times")
    running.dispose()
    stand.pause(2)
    count = len(ticks)
    stand.pause(4)
    expect(ticks[:3] == [0, 1, 2], f"a periodic action was given the states {ticks[:3]}")
    expect(len(ticks) == count, "a periodic action went on after it was disposed of")
    own: list[Any] = []
    calls: list[int] = []

    def once(_state: Any) -> None:
        calls.append(1)
        if own:
            own[0].dispose()

    own.append(stand.scheduler.schedule_periodic(stand.unit, once))
    stand.until(lambda: bool(calls), "a periodic action never ran")
    stand.pause(4)
    expect(len(calls) <= 2, f"disposed of from within, it ran {len(calls)} times")


def operators(stand: Stand) -> None:
    scheduler, unit = stand.scheduler, stand.unit
    found: dict[str, list[Any]] = {}
    streams: dict[str, rx.Observable[Any]] = {
        "interval": rx.interval(unit, scheduler=scheduler).pipe(rx_ops.take(3)),
        "timer": rx.timer(unit, 2 * unit, scheduler=scheduler).pipe(rx_ops.take(2)),
        "delay": rx.of(1, 2).pipe(rx_ops.delay(unit, scheduler=scheduler)),
        "debounce": rx.of(1, 2, 3).pipe(rx_ops.debounce(unit, scheduler=scheduler)),
        "timeout": rx.of(7).pipe(rx_ops.timeout(50.0, scheduler=scheduler)),
        "observe_on": rx.of(1, 2, 3).pipe(rx_ops.observe_on(scheduler)),
        "from_iterable": rx.from_iterable(range(3), scheduler=scheduler),
    }
    wanted = {
        "interval": [0, 1, 2],
        "timer": [0, 1],
        "delay": [1, 2],
        "debounce": [3],
        "timeout": [7],
        "observe_on": [1, 2, 3],
        "from_iterable": [0, 1, 2],
    }
    for name, stream in streams.items():
        stream.pipe(rx_ops.to_list()).subscribe(
            lambda values, name=name: found.update({name: values})  # type: ignore[misc]
        )
    stand.reached(lambda: len(found) == len(wanted))
    wrong = {name: found.get(name) for name, values in wanted.items() if found.get(name) != values}
    expect(
        not wrong, f"operators gave {wrong}, expected { ({name: wanted[name] for name in wrong}) }"
    )


class _Held:
    """Something that an action refers to."""


def lets_go(stand: Stand) -> None:
    ran: list[int] = []
    held = [_Held(), _Held(), _Held()]
    alive = [weakref.ref(one) for one in held]
    handles = [
        stand.scheduler.schedule(lambda *_: ran.append(1), held.pop()),
        stand.scheduler.schedule_relative(stand.unit, lambda *_: ran.append(1), held.pop()),
        stand.scheduler.schedule_relative(1000.0, lambda *_: None, held.pop()),
    ]
    handles[2].dispose()

    def all_gone() -> bool:
        gc.collect()
        return not any(reference() for reference in alive)

    stand.until(lambda: len(ran) == 2, f"{len(ran)} of 2 actions ran")
    gone = stand.reached(all_gone, within=min(stand.seconds, 2.0))
    names = ("an action that ran", "a timer that ran", "a cancelled timer")
    kept = [name for name, reference in zip(names, reversed(alive), strict=True) if reference()]
    expect(gone, f"still held: the state of {' and '.join(kept)}")


def _raise(_scheduler: Any, _state: Any) -> None:
    raise ValueError("an action of check_scheduler raises on purpose")


class _Ears(logging.Handler):
    """Whatever a scheduler may tell of an exception with; nothing of it reaches the screen."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())

    def __enter__(self) -> "_Ears":
        self._hooks = threading.excepthook, sys.excepthook
        threading.excepthook = lambda arguments: self.heard.append(arguments.exc_type)
        sys.excepthook = lambda kind, *_: self.heard.append(kind)
        self._loggers = [logging.getLogger(name) for name in ("", "rxotlp", "asyncio", "Rx")]
        self._propagated = [logger.propagate for logger in self._loggers]
        for logger in self._loggers:
            logger.addHandler(self)
            logger.propagate = False
        return self

    def __exit__(self, *exc: object) -> None:
        threading.excepthook, sys.excepthook = self._hooks
        for logger, propagated in zip(self._loggers, self._propagated, strict=True):
            logger.removeHandler(self)
            logger.propagate = propagated


RULES = [
    Rule("runs", runs),
    Rule("due", due),
    Rule("timer order", timer_order),
    Rule("cancel", cancel),
    Rule("handle", handle),
    Rule("no overlap", no_overlap),
    Rule("survives a raise", survives_a_raise),
    Rule("reports a raise", reports_a_raise),
    Rule("no blocked timers", no_blocked_timers),
    Rule("few threads", few_threads),
    Rule("periodic", periodic),
    Rule("operators", operators),
    Rule("lets go", lets_go),
]
