"""Rules for schedulers of rxotlp's kind: a serial executor with a clock."""

import contextlib
import time
from contextvars import ContextVar
from typing import Any

from rxotlp.errors import PipelineError
from rxotlp.testing._stand import Stand
from rxotlp.testing.rules import Rule, expect

__all__ = ["RULES"]

_variable: ContextVar[str] = ContextVar("check_scheduler", default="unset")


def turn(stand: Stand) -> None:
    order: list[str] = []

    def outer(scheduler: Any, _state: Any) -> None:
        for name in "abc":
            scheduler.schedule(lambda _, state: order.append(state), name)
        order.append("outer")

    stand.scheduler.schedule(outer)
    stand.until(lambda: len(order) == 4, f"only {order} ran")
    expect(
        order == ["outer", "a", "b", "c"],
        f"an action that schedules a, b and c ran in the order {order}",
    )


def post(stand: Stand) -> None:
    order: list[str] = []

    def action(scheduler: Any, _state: Any) -> None:
        scheduler.post(lambda: order.append("posted"))
        order.append("action")

    stand.scheduler.schedule(action)
    stand.until(lambda: len(order) == 2, f"only {order} ran")
    expect(order == ["action", "posted"], "a posted action ran inside post()")
    where: list[int] = []
    stand.scheduler.post(lambda: where.append(1))
    expect(not where or not stand.virtual, "a posted action ran inside post()")
    stand.until(lambda: bool(where), "an action posted from outside never ran")


def context(stand: Stand) -> None:
    seen: dict[str, str] = {}

    async def read() -> str:
        return _variable.get()

    def outer(scheduler: Any, _state: Any) -> None:
        token = _variable.set("mine")
        scheduler.schedule(lambda *_: seen.update(queued=_variable.get()))
        scheduler.schedule_relative(stand.unit, lambda *_: seen.update(timer=_variable.get()))
        scheduler.run_blocking(_variable.get, lambda result, _: seen.update(pool=result))
        scheduler.run_coroutine(read(), lambda result, _: seen.update(task=result))
        _variable.reset(token)

    stand.scheduler.schedule(outer)
    stand.until(lambda: len(seen) == 4, f"only {sorted(seen)} ran")
    lost = sorted(name for name, value in seen.items() if value != "mine")
    expect(not lost, f"the context variable was lost in: {', '.join(lost)}")


def jobs(stand: Stand) -> None:
    scheduler = stand.scheduler
    told: dict[str, tuple[Any, Any, bool]] = {}

    def note(name: str) -> Any:
        def done(result: Any, error: BaseException | None) -> None:
            told[name] = (result, type(error).__name__, bool(scheduler.running_here))

        return done

    async def seven() -> int:
        return 7

    async def fails() -> None:
        raise KeyError("in a coroutine")

    def raises() -> None:
        raise KeyError("in a call")

    def start(*_: Any) -> None:
        scheduler.run_coroutine(seven(), note("coroutine"))
        scheduler.run_coroutine(fails(), note("failing coroutine"))
        scheduler.run_blocking(lambda: 7, note("call"))
        scheduler.run_blocking(raises, note("failing call"))

    scheduler.schedule(start)
    stand.until(lambda: len(told) == 4, f"only {sorted(told)} reported")
    wanted = {
        "coroutine": (7, "NoneType", True),
        "failing coroutine": (None, "KeyError", True),
        "call": (7, "NoneType", True),
        "failing call": (None, "KeyError", True),
    }
    wrong = {name: told[name] for name in wanted if told[name] != wanted[name]}
    expect(not wrong, f"(result, error, in the turn) were {wrong}")


def idle(stand: Stand) -> None:
    ran: list[int] = []
    stand.scheduler.schedule(lambda *_: ran.append(1))
    stand.until(lambda: bool(ran), "an action never ran")
    if stand.virtual:
        return  # it runs in the caller's thread only
    busiest = 1.0
    for _ in range(5):  # others on this machine, and in this process, may be busy once
        processor, clock = time.process_time(), time.monotonic()
        time.sleep(0.1)
        busiest = min(busiest, (time.process_time() - processor) / (time.monotonic() - clock))
    expect(busiest < 0.2, f"idle, it used {busiest:.0%} of a processor")


def closed(stand: Stand) -> None:
    scheduler = stand.scheduler
    ran: list[int] = []
    scheduler.post(lambda: ran.append(1))
    closing = stand.from_thread(scheduler.close) if not stand.virtual else None
    if closing is None:
        scheduler.close()
    else:
        closing.join(stand.seconds)
        expect(not closing.is_alive(), "close() did not come back")
    expect(ran == [1], "what was handed over before close() did not run")
    with contextlib.suppress(PipelineError):
        scheduler.post(lambda: ran.append(2))
        expect(False, "post() after close() raised no PipelineError: nobody is left to run it")
    with contextlib.suppress(PipelineError):
        scheduler.schedule_relative(1.0, lambda *_: None)
        expect(False, "a timer after close() raised no PipelineError: nobody is left to run it")


RULES = [
    Rule("turn", turn),
    Rule("post", post),
    Rule("context", context),
    Rule("jobs", jobs),
    Rule("idle", idle),
    Rule("closed", closed),
]
