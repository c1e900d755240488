"""Our own exports are not traced: a pipeline must never feed itself.

An instrumented HTTP or gRPC client would make a span of every export, which would be
exported, which would make a span. OpenTelemetry's instrumentations look for these keys in
the current context. Where its API is not installed there is nothing to silence.
"""

from collections.abc import Iterator
from contextlib import contextmanager

try:
    from opentelemetry import context as _context
except ImportError:  # pragma: no cover - the API is there wherever the tests run
    _context = None  # type: ignore[assignment]

__all__ = ["untraced"]

# The API's own keys, and the plain one that opentelemetry-instrumentation reads besides.
_KEYS = (
    getattr(_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"),
    getattr(_context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "suppress_http_instrumentation"),
    "suppress_instrumentation",
)


@contextmanager
def untraced() -> Iterator[None]:
    """Inside, OpenTelemetry's instrumentations leave clients alone."""
    if _context is None:
        yield
        return
    silenced = _context.get_current()
    for key in _KEYS:
        silenced = _context.set_value(key, True, silenced)
    token = _context.attach(silenced)
    try:
        yield
    finally:
        _context.detach(token)
