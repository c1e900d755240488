"""Our own exports are not traced: a pipeline must never feed itself.

An instrumented HTTP or gRPC client would make a span of every export, which would be
exported, which would make a span. OpenTelemetry's instrumentations look for these keys in
the current context. Where its API is not installed there is nothing to silence.
"""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["untraced"]

try:
    from opentelemetry import context
except ImportError:
    _KEYS: tuple[str, ...] = ()
else:
    # The API's own keys, and the plain one that opentelemetry-instrumentation reads besides.
    _KEYS = (
        context._SUPPRESS_INSTRUMENTATION_KEY,
        context._SUPPRESS_HTTP_INSTRUMENTATION_KEY,
        "suppress_instrumentation",
    )


@contextmanager
def untraced() -> Iterator[None]:
    """Inside, OpenTelemetry's instrumentations leave clients alone."""
    if not _KEYS:
        yield
        return
    silenced = context.get_current()
    for key in _KEYS:
        silenced = context.set_value(key, True, silenced)
    token = context.attach(silenced)
    try:
        yield
    finally:
        context.detach(token)
