"""What a command logs, and how: to stderr, as text or as one JSON object a line."""

import enum
import json
import logging
import time

__all__ = ["LogFormat", "LogLevel", "log_to_stderr", "tell_the_first_given_up"]


class LogFormat(enum.StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


class LogLevel(enum.StrEnum):
    """What is logged, and everything worse."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def log_to_stderr(level: LogLevel, form: LogFormat) -> None:
    """Log what is at least as bad as `level`, warnings of Python's too."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        _JsonFormatter()
        if form is LogFormat.JSON
        else logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)


def tell_the_first_given_up() -> None:
    """For commands that end at the first request that is given up, with hundreds under way."""
    logging.getLogger("rxotlp").addFilter(_FirstGivenUp())


class _FirstGivenUp(logging.Filter):
    """One line about what was given up, not one for each request that was under way."""

    told = False

    def filter(self, record: logging.LogRecord) -> bool:
        if "given up after" not in str(record.msg):
            return True
        told, self.told = self.told, True
        return not told
