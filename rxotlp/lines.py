"""Every record that rxotlp logs is one line, whoever's words are in it.

A span's name or a backend's message may hold line breaks that look like a line of ours, or
escape sequences that a terminal obeys. One filter on the "rxotlp" logger mends that for
whatever is logged, so no place that logs can forget it. A record whose text prints as itself
is left as it is. What an exception says stands below its record as ever, and is indented
where it would otherwise begin a line.
"""

import logging
import traceback

from rxotlp._core.text import printable

__all__ = ["OneLine", "guard"]


class OneLine(logging.Filter):
    """Makes each record one line; what an exception says is indented below it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, mended."""
        try:
            text = record.getMessage()
        except Exception:  # the wrong arguments: logging tells of it by itself
            return True
        if not text.isprintable():
            record.msg, record.args = printable(text), None
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            _indent(record, record.exc_info[1])
        return True


def _indent(record: logging.LogRecord, error: BaseException) -> None:
    """Where an exception's text has lines of its own, show them as the exception's."""
    shown = traceback.format_exception(error)
    lines = "".join(shown).splitlines() if any(_odd(part) for part in shown) else ()
    if lines:
        record.exc_text = "\n".join(f"    {printable(line)}" for line in lines)


def _odd(part: str) -> bool:
    """Whether it has more than the one line of a usual exception, or is no plain text."""
    stack = part.startswith(("  File ", "Traceback ", "\n"))
    lines = part.rstrip("\n").split("\n")
    return not all(line.isprintable() for line in lines) or (not stack and len(lines) > 1)


def guard(logger: logging.Logger) -> logging.Logger:
    """`logger`, with each of its lines one line; idempotent."""
    if not any(isinstance(known, OneLine) for known in logger.filters):
        logger.addFilter(OneLine())
    return logger
