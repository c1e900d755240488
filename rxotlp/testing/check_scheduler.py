"""`check_scheduler`: what pipelines rely on in a scheduler, whoever wrote it.

For every reactivex scheduler:

    runs               an action runs once, with its scheduler and its state
    due                a timer runs at its time or later, never inside the call that armed it
    timer order        by due time, and equal ones in the order of arming
    cancel             what is disposed of in time does not run
    handle             disposing after the run disposes what the action returned
    no overlap         two actions never run at once, whoever schedules them
    survives a raise   an action that raises ends nothing
    reports a raise    and somebody hears of it
    no blocked timers  timers do not keep an action waiting that could run now
    few threads        a timer is not a thread
    periodic           goes on until disposed of, also from within, and not beyond
    operators          reactivex's timed operators do on it what they promise
    lets go            what an action held is let go of once it has run or was cancelled

For a `SerialScheduler` of rxotlp, or a subclass, also:

    turn               a re-entrant action waits for the one that scheduled it
    post               a posted action never runs inside `post`
    context            actions run in the context variables they were scheduled in
    jobs               coroutines and blocking calls report in the turn
    idle               one that has nothing to do uses no processor time
    closed             what is closed refuses work, and says so
"""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from reactivex import abc

from rxotlp.schedulers import SerialScheduler
from rxotlp.testing import _scheduler_rules, _serial_rules
from rxotlp.testing._stand import Stand
from rxotlp.testing.rules import Broken, ConformanceError, Rule

__all__ = ["check_scheduler"]


def check_scheduler(
    make: Callable[[], AbstractContextManager[Any] | abc.SchedulerBase],
    *,
    seconds: float = 20.0,
    name: str = "",
) -> None:
    """Try every rule on a scheduler.

    Args:
        make: makes one, once for each rule; or a context manager that gives one and cleans
            up behind it (rxotlp's own schedulers are that themselves).
        seconds: of the wall clock that something may take. What keeps the rules needs
            milliseconds; only something broken is waited for that long.
        name: for messages; the scheduler's class by default.

    Raises:
        ConformanceError: some rules are broken; it lists all of them with what was seen.
        TypeError: `make` makes nothing, a scheduler instead of what makes it for instance.
    """
    if not callable(make):
        raise TypeError(
            f"check_scheduler({make!r}): expected a class or a function that makes a scheduler; "
            "each rule has one of its own"
        )
    rules: list[Rule] = list(_scheduler_rules.RULES)
    broken: list[Broken] = []
    subject = name
    for rule in rules:
        with _made(make) as scheduler:
            subject = subject or type(scheduler).__name__
            if rule is rules[0] and isinstance(scheduler, SerialScheduler):
                rules += _serial_rules.RULES
            try:
                rule.attempt(Stand(scheduler, seconds))
            except AssertionError as error:
                broken.append(Broken(rule.name, str(error)))
            except Exception as error:
                broken.append(Broken(rule.name, f"raised {type(error).__name__}: {error}"))
    if broken:
        raise ConformanceError(subject, broken)


@contextlib.contextmanager
def _made(make: Callable[[], Any]) -> Any:
    made = make()
    if hasattr(made, "__enter__"):
        with made as scheduler:
            yield scheduler
    else:
        yield made
        close = getattr(made, "dispose", None)
        if close is not None:
            close()
