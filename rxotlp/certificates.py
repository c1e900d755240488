"""What is made of certificate files, made anew when they change.

Certificates last for days and processes for months, so nothing here is read once. Who needs
what was made of some files asks `Reloaded.get` each time, for each new connection say; it
looks at the files' times, sizes and identities, which costs a few microseconds, and reads
only what has changed. Files that cannot be used (a certificate was replaced and its key not
yet) leave everything as it was, with a line in the log; the next change is another chance.

A connection that exists keeps the certificates that it was opened with.
"""

import logging
import os
import ssl
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["Reloaded", "no_password"]

logger = logging.getLogger("rxotlp")

T = TypeVar("T")

Stamp = tuple[tuple[int, int, int] | None, ...]


class Reloaded(Generic[T]):
    """A value made of files.

    Args:
        what: it is, for the log.
        files: it is made of.
        make: reads them; raises OSError when they cannot be used.

    Raises:
        OSError: of `make`, with the files' names.
    """

    def __init__(self, what: str, files: Iterable[str | None], make: Callable[[], T]) -> None:
        self._what = what
        self._files = tuple(name for name in files if name is not None)
        self._make = make
        self._lock = Lock()
        self._stamp = self._look()  # before they are read: what changes meanwhile is seen
        self._value = self._read()

    def get(self) -> T:
        """The value, of the files as they are now if they can be used; from any thread."""
        stamp = self._look()
        if stamp != self._stamp:
            with self._lock:
                if stamp != self._stamp:
                    self._stamp = stamp
                    self._renew()
        return self._value

    def _renew(self) -> None:
        try:
            self._value = self._read()
        except OSError as error:
            logger.error("%s: the certificates stay as they were; %s", self._what, error)
        else:
            logger.info("%s: read again: %s", self._what, ", ".join(self._files))

    def _read(self) -> T:
        try:
            return self._make()
        except OSError as error:  # ssl.SSLError is one
            reason = error.strerror if type(error) is not ssl.SSLError else error.reason
            raise OSError(
                error.errno, f"TLS: cannot use {', '.join(self._files)}: {reason or error}"
            ) from None

    def _look(self) -> Stamp:
        stamp: list[tuple[int, int, int] | None] = []
        for name in self._files:
            try:
                found = os.stat(name)
                stamp.append((found.st_mtime_ns, found.st_size, found.st_ino))
            except OSError:
                stamp.append(None)
        return tuple(stamp)

    def __repr__(self) -> str:
        return f"<Reloaded {self._what}: {', '.join(self._files)}>"


def no_password() -> str:
    """For `load_cert_chain`: without it OpenSSL would ask on the terminal, and wait.

    Raises:
        OSError: always.
    """
    raise OSError("the key is encrypted; expected one without a password")
