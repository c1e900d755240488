"""A pipeline's subscription: made once, or made anew each time its stream has died.

    subscribed --on_completed, or on_error--> ended
    subscribed --on_error, to be restarted--> pausing --after the pause--> subscribed

While it pauses nobody is subscribed, so sources refuse: their ports stay, and their senders
are asked to try again. A stream that dies again at once is tried ever less often; one that
has lived for a while begins with the shortest pause again.

Everything here but `stop` and `when_ended` runs in the scheduler's turn.
"""

import logging
import random
import threading
from collections.abc import Callable
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable

from rxotlp._core.backoff import Backoff
from rxotlp._core.outcomes import failed
from rxotlp.assembly import Assembly
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError, without_tracebacks
from rxotlp.schedulers import SerialScheduler
from rxotlp.shares import BROKEN, TOUCHED

__all__ = ["Lifeline"]

logger = logging.getLogger("rxotlp")

HEALTHY = 60.0  # seconds after which a stream's next death counts as its first

_NOT_EXPORTED = failed("it reached the end of the pipeline and no exporter had taken it")


class Lifeline:
    """Subscribes a stream in an assembly, and again where that is asked for.

    Args:
        stream: what to subscribe.
        assembly: where its stages and sources register.

    Attributes:
        ended: set when the stream has ended and will not be subscribed again.
        error: what the stream died of, without its traceback (which would hold elements);
            None while it lives.
        restarts: how often it was subscribed anew.
    """

    def __init__(self, stream: Observable[Any], assembly: Assembly) -> None:
        self.ended = threading.Event()
        self.error: Exception | None = None
        self.restarts = 0
        self._stream = stream
        self._assembly = assembly
        self._restart = False
        self._scheduler: SerialScheduler | None = None
        self._subscription = SerialDisposable()
        self._pause = SerialDisposable()
        self._backoff = Backoff(random.random, first=1.0, factor=2.0, most=30.0, jitter=0.2)
        self._deaths = 0  # in a row
        self._began = 0.0
        self._warned = False
        self._on_end: list[Callable[[], object]] = []

    def begin(self, scheduler: SerialScheduler, *, restart: bool) -> threading.Event:
        """Have the stream subscribed in the scheduler's turn; the event says when it is.

        Args:
            scheduler: where it runs.
            restart: subscribe it anew when it has died.
        """
        self._scheduler = scheduler
        self._restart = restart
        subscribed = threading.Event()

        def subscribe(_scheduler: abc.SchedulerBase, _state: Any) -> None:
            try:
                self._subscribe()
            finally:
                subscribed.set()

        if scheduler.running_here:
            subscribe(scheduler, None)
        else:
            scheduler.schedule(subscribe)
        return subscribed

    def stop(self) -> None:
        """From now on an end is an end; a stream that is dead ends at once. From any thread."""
        assert self._scheduler is not None
        if self._restart and not self.ended.is_set():
            self._scheduler.post(self._stop)

    def dispose(self) -> None:
        """Let go of the stream."""
        self._pause.dispose()
        self._subscription.dispose()

    def end(self) -> None:
        """Call it ended."""
        self.ended.set()
        self._tell_ended()

    def when_ended(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when the stream has ended. From any thread."""
        self._on_end.append(callback)
        if self.ended.is_set():  # perhaps since a moment ago, and told already
            self._tell_ended()

    # -- in the turn ----------------------------------------------------------------------

    def _subscribe(self) -> None:
        scheduler = self._scheduler
        assert scheduler is not None
        self._began = scheduler.now.timestamp()
        with self._assembly:
            self._subscription.disposable = self._stream.subscribe(
                self._on_next, self._on_error, self.end, scheduler=scheduler
            )

    def _again(self, _scheduler: abc.SchedulerBase, _state: Any) -> None:
        if not self._restart:
            return
        self.restarts += 1
        self.error = None
        logger.info("the stream is subscribed anew, for the %d. time", self.restarts)
        try:
            self._subscribe()
        except Exception as error:  # its author's, raised while it was subscribed
            self._on_error(error)

    def _stop(self) -> None:
        self._restart = False
        self._pause.dispose()
        if self.error is not None:
            self.end()

    def _on_next(self, value: Any) -> None:
        if type(value) is TelemetryData and value._share is not None:
            share = value._share
            if not share.flags & TOUCHED:  # no stage has answered for it, nor ever will
                share.verdict(_NOT_EXPORTED)
                share.flags |= BROKEN  # so that the books call it lost, as its sender does
                if not self._warned:
                    self._warned = True
                    logger.warning(
                        "telemetry reached the pipeline's end and no exporter had taken it; "
                        "its senders are told to send again (end the stream with ops.export)"
                    )

    def _on_error(self, error: Exception) -> None:
        scheduler = self._scheduler
        assert scheduler is not None
        self.error = without_tracebacks(error)
        miswired = isinstance(error, PipelineError) and not self._assembly.running
        if not self._restart or miswired:
            logger.error("the stream ended with %s: %s", type(error).__name__, error)
            self.end()
            return
        if scheduler.now.timestamp() - self._began >= HEALTHY:
            self._deaths = 0
        self._deaths += 1
        pause = self._backoff.delay(self._deaths)
        logger.error(
            "the stream died of %s: %s; senders are refused until it is subscribed anew in %.1f s",
            type(error).__name__,
            error,
            pause,
        )
        self._pause.disposable = scheduler.schedule_relative(pause, self._again)

    def _tell_ended(self) -> None:
        while self._on_end:
            try:
                callback = self._on_end.pop(0)
            except IndexError:  # another thread was faster
                return
            callback()
