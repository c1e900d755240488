"""Texts about a destination: other people's words cleaned (see `_core.text`), and our name."""

import functools
import importlib.metadata

from rxotlp._core.text import clean

__all__ = ["clean", "user_agent"]


@functools.cache
def user_agent() -> str:
    """Who sends (OTLP exporter specification, "User Agent")."""
    return f"OTel-OTLP-Exporter-Python-rxotlp/{importlib.metadata.version('rxotlp')}"
