"""Texts about a destination that are fit for a log line, and the name we go by.

A backend's message is its own words: it may be long, hold control characters that forge
log lines, or repeat a header it was sent. `clean` shortens it, makes it one printable line
and blanks out every secret it is told of.
"""

import functools
import importlib.metadata
from collections.abc import Iterable

__all__ = ["clean", "user_agent"]

_LONGEST = 300  # characters; a log line, not a page
_LEAST_SECRET = 4  # shorter values ("1", "yes") say nothing and are part of many words


def clean(text: str, *, secrets: Iterable[str] = ()) -> str:
    """`text` as one printable line of bounded length without any of `secrets`."""
    # Cut first, so that a huge text costs little; generously, so that no secret is cut in two.
    text = text[: 16 * _LONGEST]
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _LEAST_SECRET:
            text = text.replace(secret, "***")
    text = " ".join(text.split())
    text = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


@functools.cache
def user_agent() -> str:
    """Who sends (OTLP exporter specification, "User Agent")."""
    return f"OTel-OTLP-Exporter-Python-rxotlp/{importlib.metadata.version('rxotlp')}"
