"""gRPC channels: one for each destination, until its certificates change.

A channel keeps the credentials that it was made with. When their files have changed, calls
from then on use a channel of their own, and the old one is closed after its last call. A
channel belongs to no event loop, and any thread may use it.

gRPC's threads do not survive a fork unless GRPC_ENABLE_FORK_SUPPORT=1 was set before the
first import; a child opens channels of its own and never touches the parent's.
"""

import os
from collections.abc import Hashable, Sequence
from threading import Lock

import grpc

from rxotlp.certificates import Reloaded

__all__ = ["Channels", "Line"]

# Kept, so that no finalizer touches what a fork inherited from its parent.
_inherited: list[object] = []


class Line:
    """One channel, and how many calls are under way on it."""

    __slots__ = ("_methods", "calls", "channel", "credentials", "retired")

    def __init__(self, channel: grpc.Channel, credentials: grpc.ChannelCredentials | None) -> None:
        self.channel = channel
        self.credentials = credentials
        self.calls = 0
        self.retired = False
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}

    def method(self, name: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
        """A method of bytes to bytes."""
        found = self._methods.get(name)
        if found is None:
            found = self._methods[name] = self.channel.unary_unary(name, None, None)
        return found


class Channels:
    """Opens, finds and closes them.

    Args:
        options: gRPC's channel arguments.
    """

    def __init__(self, options: Sequence[tuple[str, int | str]]) -> None:
        self._options = list(options)
        self._lock = Lock()
        self._process = os.getpid()
        self._lines: dict[Hashable, Line] = {}

    def take(
        self,
        key: Hashable,
        address: str,
        compression: grpc.Compression,
        reloaded: Reloaded[grpc.ChannelCredentials] | None,
    ) -> Line:
        """The channel for `key`, with the certificates of now; `give_back` when the call is over.

        Args:
            key: the same for calls that may share a channel; they must share `reloaded` too.
            reloaded: the credentials; None for plain connections.
        """
        if self._process != os.getpid():
            self._forget_inherited()
        credentials = None if reloaded is None else reloaded.get()
        done: Line | None = None
        with self._lock:
            line = self._lines.get(key)
            if line is None or line.credentials is not credentials:
                if line is not None:
                    line.retired = True
                    done = None if line.calls else line
                line = self._open(address, compression, credentials)
                self._lines[key] = line
            line.calls += 1
        if done is not None:
            done.channel.close()
        return line

    def give_back(self, line: Line) -> None:
        """A call is over; from any thread."""
        with self._lock:
            line.calls -= 1
            last = line.retired and not line.calls
        if last:
            line.channel.close()

    def close(self) -> None:
        """Close them all; calls under way come back as cancelled."""
        if self._process != os.getpid():
            self._forget_inherited()
        with self._lock:
            lines, self._lines = self._lines, {}
        for line in lines.values():
            line.channel.close()

    def _open(
        self,
        address: str,
        compression: grpc.Compression,
        credentials: grpc.ChannelCredentials | None,
    ) -> Line:
        if credentials is None:
            return Line(grpc.insecure_channel(address, self._options, compression), None)
        channel = grpc.secure_channel(address, credentials, self._options, compression)
        return Line(channel, credentials)

    def _forget_inherited(self) -> None:
        _inherited.append(self._lines)
        self._lines = {}
        self._lock = Lock()  # another thread of the parent may have held it
        self._process = os.getpid()
