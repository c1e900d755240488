"""What a receiver grants to whoever connects, however slow, large or many they are."""

from dataclasses import dataclass, fields

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of connections and requests; the arguments of `otlp` of the same names.

    Attributes:
        max_request_size: bytes of a body, before and after decompression.
        max_header_size: bytes of an HTTP request's line and headers, or a call's metadata.
        max_connections: open at once, for each transport.
        header_timeout: seconds for a TLS handshake, and for a request's headers.
        body_timeout: seconds in which a body, or the reading of an answer, makes no progress.
        idle_timeout: seconds that a connection may stay without a request.
    """

    max_request_size: int
    max_header_size: int
    max_connections: int
    header_timeout: float
    body_timeout: float
    idle_timeout: float

    def __post_init__(self) -> None:
        for field in fields(self):
            name, given = field.name, getattr(self, field.name)
            whole = name.startswith("max_")
            if isinstance(given, bool) or not isinstance(given, int if whole else int | float):
                expected = "a whole number" if whole else "seconds"
                kind = type(given).__name__
                raise TypeError(f"otlp({name}={given!r}): expected {expected}, got {kind}")
            least = {"max_header_size": 1024}.get(name, 1)
            if whole and given < least:
                unit = "" if name == "max_connections" else f" byte{'' if least == 1 else 's'}"
                raise ValueError(f"otlp({name}={given}): expected {least}{unit} or more")
            if not given > 0:
                raise ValueError(f"otlp({name}={given}): expected more than 0 seconds")
