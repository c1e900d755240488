"""Errors, split by whose fault it is.

    OtlpError
    +-- DecodeError          the sender's: bytes that are no OTLP, or a bad field in them
    +-- RefusedError         the sender's or nobody's: no room, too large, stopping
    +-- ExportError          the backend's: it answered badly, late or not at all
    +-- LooseElementError    the pipeline's author's: an element without a receipt, in strict
    +-- PipelineError        the pipeline's author's: wiring that cannot work
        +-- UsageError       a command line or a MODULE:ATTR that cannot be followed

A wrong argument is a plain ValueError or TypeError that names call, value, range and
reason, raised where the pipeline is written.
"""

__all__ = [
    "DecodeError",
    "ExportError",
    "LooseElementError",
    "OtlpError",
    "PipelineError",
    "RefusedError",
    "UsageError",
    "without_tracebacks",
]


class OtlpError(Exception):
    """Everything that rxotlp raises on purpose, argument errors apart."""


class DecodeError(OtlpError):
    """Bytes are not what their signal's OTLP message says.

    Attributes:
        path: the field at fault (`resource_spans[2].scope_spans[0].spans[17].trace_id`),
            or "" when the whole frame cannot be read.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class RefusedError(OtlpError):
    """An element was not admitted.

    Attributes:
        retry_after: seconds after which a retry may succeed; None when unknown.
        permanent: True when no retry can succeed (larger than the whole limit).
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, permanent: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.permanent = permanent


class ExportError(OtlpError):
    """A destination did not take what it was sent."""


class PipelineError(OtlpError):
    """A pipeline is wired or used in a way that cannot work."""


class UsageError(PipelineError):
    """A command line, or the MODULE:ATTR in it, cannot be followed."""


class LooseElementError(OtlpError):
    """An element without a receipt reached a stage of a strict pipeline."""


def without_tracebacks(error: Exception) -> Exception:
    """The same exception, to be kept: neither it nor its causes hold frames any more.

    Frames hold elements, and an element that can be reached never settles.
    """
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            todo += [one.__cause__, one.__context__]
            if isinstance(one, BaseExceptionGroup):
                todo += one.exceptions
    return error
