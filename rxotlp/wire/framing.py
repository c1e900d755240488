"""Records out of a stream of bytes: lines, or protobuf messages behind their size.

Bytes go in as they come, records come out one by one, and `offset` and `number` say where
the last one ended. A line that is too long is skipped, and the next is found; behind a size
that makes no sense nothing can be found any more.
"""

from collections.abc import Callable

from rxotlp.errors import DecodeError

__all__ = ["Cutter", "Lines", "Sized", "end_of_sized", "looks_like_json", "sized"]


def looks_like_json(data: bytes) -> bool:
    """Whether a file that begins with `data` has lines of JSON rather than sized messages.

    A message of 123 bytes has the size "{", but then comes the tag of its first field,
    which is a line break; no line of JSON has one there.
    """
    return data.lstrip(b" \t\r\n").startswith(b"{") and not data.startswith(b"{\n")


class Cutter:
    """Bytes in, records out.

    Args:
        offset: where the first byte stands in the stream.
        number: of the record before the first, counted from 1.
        max_size: bytes of the largest record.
    """

    noun = "record"

    def __init__(self, *, offset: int = 0, number: int = 0, max_size: int) -> None:
        self.offset = offset
        self.number = number
        self._max_size = max_size
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """More of the stream."""
        self._buffer += data

    def cut(self) -> bytes | None:
        """The next record, or None when there is no whole one yet.

        Raises:
            DecodeError: the record cannot be had; see the subclass for whether the next can.
        """
        raise NotImplementedError

    def rest(self) -> bytes | None:
        """The last record, once the stream is over and `cut` has given all others.

        Raises:
            DecodeError: the stream ended inside it.
        """
        raise NotImplementedError

    def _take(self, start: int, stop: int, end: int) -> bytes:
        record = bytes(self._buffer[start:stop])
        self._drop(end)
        self.number += 1
        return record

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self.offset += count


class Lines(Cutter):
    """Lines; after a DecodeError the next line is there."""

    noun = "line"

    def __init__(self, *, offset: int = 0, number: int = 0, max_size: int) -> None:
        super().__init__(offset=offset, number=number, max_size=max_size)
        self._searched = 0  # bytes in which there is no line break
        self._skipping = False

    def cut(self) -> bytes | None:
        """The next line, without its line break; an empty one is a record too."""
        end = self._buffer.find(b"\n", self._searched)
        if end >= 0:
            self._searched = 0
            skipped, self._skipping = self._skipping, False
            if skipped or end > self._max_size:
                self._drop(end + 1)
                self.number += 1
                raise DecodeError(f"longer than {self._max_size} bytes")
            return self._take(0, end, end + 1)
        self._searched = len(self._buffer)
        if self._skipping or self._searched > self._max_size:
            self._skipping = True
            self._drop(self._searched)
            self._searched = 0
        return None

    def rest(self) -> bytes | None:
        """A last line without a line break."""
        self._searched = 0
        if self._skipping:
            self._skipping = False
            self.number += 1
            raise DecodeError(f"longer than {self._max_size} bytes")
        size = len(self._buffer)
        return self._take(0, size, size) if size else None


class Sized(Cutter):
    """Messages behind a varint with their size (protobuf's "delimited"); an error is the end."""

    def cut(self) -> bytes | None:
        """The next message."""
        size, at = _size(self._buffer[:10])
        if not at:
            if len(self._buffer) >= 10:
                raise DecodeError("no size stands where one should")
            return None
        if size > self._max_size:
            raise DecodeError(f"larger than {self._max_size} bytes, or no size stands there")
        return self._take(at, at + size, at + size) if len(self._buffer) >= at + size else None

    def rest(self) -> bytes | None:
        """Nothing; a message that began must have ended."""
        if self._buffer:
            raise DecodeError(f"the file ends inside it, after {len(self._buffer)} bytes")
        return None


def sized(data: bytes) -> bytes:
    """A message behind its size."""
    size, head = len(data), bytearray()
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + data


def end_of_sized(read: Callable[[int], bytes], stop: int) -> int:
    """Where the last whole message of a stream ends.

    Args:
        read: at least ten bytes from an offset, fewer at the end.
        stop: bytes of the stream.
    """
    end = 0
    while end < stop:
        size, width = _size(read(end)[:10])
        if not width or end + width + size > stop:
            break
        end += width + size
    return end


def _size(head: bytes | bytearray) -> tuple[int, int]:
    """A size and how many bytes it takes; 0 of them when it does not end in `head`."""
    size = 0
    for at, byte in enumerate(head):
        size |= (byte & 127) << 7 * at
        if byte < 128:
            return size, at + 1
    return 0, 0
