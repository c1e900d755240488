"""From the standard library's `logging` to OpenTelemetry's log records.

The SDK's own handler is deprecated, and its successor is in a package whose versions are
pinned to one another; the translation is a page. The names are those of OpenTelemetry's
semantic conventions, and the severities those of its data model.

A handler that is attached must not be noticed otherwise:

- It takes no lock: what it does is thread safe, and a log call must not wait for another.
- What rxotlp itself logs is left out, as is what an export logs: it would feed itself.
- `logging.basicConfig` does nothing when there is a handler, and `dictConfig` takes handlers
  away. While one is attached these functions do not see it.
- Without any other handler `logging` writes warnings to stderr, and goes on to.
"""

import functools
import logging
import logging.config
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from opentelemetry._logs import LoggerProvider, LogRecord, SeverityNumber
from opentelemetry.context import get_current

from rxotlp.sdk.intake import exporting

__all__ = ["LogHandler"]

_OWN = "rxotlp"
_SEVERITY_TEXT = {"WARNING": "WARN", "CRITICAL": "FATAL"}  # logs data model, "Displaying severity"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CONFIGURING = (
    (logging, "basicConfig"),
    (logging.config, "dictConfig"),
    (logging.config, "fileConfig"),
)

_translating: ContextVar[bool] = ContextVar("rxotlp.sdk.translating", default=False)


class LogHandler(logging.Handler):
    """Emits what is logged as log records of a provider.

    Args:
        provider: OpenTelemetry's; loggers have the names of `logging`.
        level: what is below is left out; `logging`'s own levels decide by default.

    What was given as `extra` becomes attributes, and so do the place in the code and an
    exception. The body is the message, formatted if a formatter is set.
    """

    def __init__(self, provider: LoggerProvider, *, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._provider = provider
        self._replaced: list[tuple[Any, str, Any, Any]] = []

    def createLock(self) -> None:
        """None; see above."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on; what cannot be formatted goes the way that `logging` has for it."""
        fallback = logging.lastResort
        if fallback is not None and record.levelno >= fallback.level and self._alone(record):
            fallback.handle(record)
        own = record.name == _OWN or record.name.startswith(f"{_OWN}.")
        if own or exporting.get() or _translating.get():
            return
        token = _translating.set(True)  # attributes of a wrong type are logged
        try:
            self._provider.get_logger(record.name).emit(self._translate(record))
        except Exception:
            self.handleError(record)
        finally:
            _translating.reset(token)

    def _alone(self, record: logging.LogRecord) -> bool:
        """Whether nobody else hears of this record."""
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return True

    def _translate(self, record: logging.LogRecord) -> LogRecord:
        attributes = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        attributes["code.file.path"] = record.pathname
        attributes["code.function.name"] = record.funcName
        attributes["code.line.number"] = record.lineno
        kind, error, trace = record.exc_info or (None, None, None)
        if kind is not None:
            attributes["exception.type"] = kind.__name__
            attributes["exception.message"] = str(error)
            attributes["exception.stacktrace"] = "".join(
                traceback.format_exception(kind, error, trace)
            )
        return LogRecord(
            timestamp=int(record.created * 1e9),
            observed_timestamp=time.time_ns(),
            context=get_current(),
            severity_text=_SEVERITY_TEXT.get(record.levelname, record.levelname),
            severity_number=severity(record.levelno),
            body=self.format(record) if self.formatter else record.getMessage(),
            attributes=attributes,
        )

    # -- being attached ------------------------------------------------------------------------

    def attach(self) -> None:
        """Hear of everything that reaches the root logger, and stay through configuration."""
        logging.getLogger().addHandler(self)
        for module, name in _CONFIGURING:
            original = getattr(module, name)
            replacement = self._unseen(original)
            setattr(module, name, replacement)
            self._replaced.append((module, name, original, replacement))

    def detach(self) -> None:
        """Hear of nothing any more. Idempotent."""
        logging.getLogger().removeHandler(self)
        while self._replaced:
            module, name, original, replacement = self._replaced.pop()
            if getattr(module, name) is replacement:  # somebody may have done as we did
                setattr(module, name, original)

    def _unseen(self, configure: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(configure)
        def configured(*args: Any, **kwargs: Any) -> Any:
            root = logging.getLogger()
            attached = self in root.handlers
            root.removeHandler(self)
            try:
                return configure(*args, **kwargs)
            finally:
                if attached:
                    root.addHandler(self)

        return configured


def severity(level: int) -> SeverityNumber:
    """OpenTelemetry's number for a level: ten levels of `logging` are one severity of four."""
    if level < logging.DEBUG:
        return SeverityNumber.UNSPECIFIED if level <= 0 else SeverityNumber.TRACE
    tens, rest = divmod(min(level, logging.CRITICAL + 3), 10)
    return SeverityNumber(4 * tens + 1 + min(rest, 3))
