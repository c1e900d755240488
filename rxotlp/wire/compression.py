"""Compressed bodies, with a limit that holds while they grow.

A body of a few kilobytes can decompress to gigabytes, so every decompressor here is told
how much it may still write: it stops one byte past `max_size`, not after the fact (OTLP
specification: a server limits a request's size after decompression too). Also against
bodies made to be slow: at most 1000 gzip members, and a member's input is looked at in
windows, so that many tiny members do not copy the rest of the body a thousand times.

gzip runs on isal where it is installed (about 8 times faster than zlib at level 1, same
format); levels above 3 want size rather than speed and go to zlib, as isal has none.
"deflate" is zlib-wrapped by RFC 9110, yet some clients send raw deflate; both are read, and
the zlib-wrapped form is written. zstd needs the `zstandard` package.

A body that ends early, or goes on after its end, is refused: nobody can say what the
sender meant.
"""

import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

from rxotlp.errors import DecodeError, RefusedError

try:
    from isal import isal_zlib
except ImportError:
    isal_zlib = None  # type: ignore[assignment]

try:
    import zstandard
except ImportError:
    zstandard = None  # type: ignore[assignment]

__all__ = ["ENCODINGS", "UnknownEncodingError", "compress", "decompress", "end_of_packed"]

ENCODINGS: tuple[str, ...] = ("identity", "gzip", "deflate", *(("zstd",) if zstandard else ()))
"""The encodings that work here, as HTTP's Content-Encoding and gRPC's names spell them."""

_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's wbits
_MAX_MEMBERS = 1000
_WINDOW = 64 * 1024
_ISAL_MAX_LEVEL = 3
_ZSTD_WINDOW = 8 * 1024 * 1024  # RFC 9659: the largest window of the zstd content coding

_UNPACK_ERRORS: tuple[type[Exception], ...] = (zlib.error,)
if zstandard is not None:
    _UNPACK_ERRORS = (zlib.error, zstandard.ZstdError)

Bytes = bytes | bytearray | memoryview


class UnknownEncodingError(ValueError):
    """An encoding that is not in `ENCODINGS`; a receiver answers 415 or UNIMPLEMENTED."""


def end_of_packed(encoding: str, file: BinaryIO) -> int:
    """Where the last whole gzip member or zstd frame of a file ends; it reads all of it.

    Raises:
        DecodeError: something in it is no such thing, rather than the beginning of one.
    """
    whole = at = 0
    stream = _unpacker(encoding)
    while piece := file.read(_WINDOW):
        at += len(piece)
        while piece:
            try:
                stream.decompress(piece)
            except _UNPACK_ERRORS as error:
                raise DecodeError(f"{encoding}: damaged behind byte {whole}: {error}") from None
            if not stream.eof:
                break
            piece = stream.unused_data
            whole = at - len(piece)
            stream = _unpacker(encoding)
    return whole


def _unpacker(encoding: str) -> Any:
    if encoding == "gzip":
        return zlib.decompressobj(wbits=31)
    return zstandard.ZstdDecompressor().decompressobj()


def compress(encoding: str, data: bytes, *, level: int = 1) -> bytes:
    """Compress a whole body.

    Args:
        encoding: one of `ENCODINGS`.
        data: what to compress.
        level: 1 (fast) to 9 (small).

    Raises:
        UnknownEncodingError: the encoding is not one of `ENCODINGS`.
    """
    if not 1 <= level <= 9:
        raise ValueError(f"compress(level={level}): expected 1 (fast) to 9 (small)")
    match _known("compress", encoding):
        case "identity":
            return data
        case "zstd":
            # Alone among the four zstd would not notice a flipped bit without it.
            return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)
        case "gzip":
            return _deflated(data, level, _GZIP)
    return _deflated(data, level, _ZLIB)


def decompress(encoding: str, data: Bytes, max_size: int) -> bytes:
    """Decompress a whole body of at most `max_size` bytes.

    Args:
        encoding: one of `ENCODINGS`, in any case.
        data: the body as it came.
        max_size: bytes that the result may have, 0 or more.

    Raises:
        UnknownEncodingError: the encoding is not one of `ENCODINGS`.
        DecodeError: the body is damaged, ends early or goes on after its end.
        RefusedError: it would grow past `max_size`; permanent.
    """
    if max_size < 0:
        raise ValueError(f"decompress(max_size={max_size}): expected 0 or more bytes")
    encoding = _known("decompress", encoding)
    if encoding == "identity":
        if len(data) > max_size:
            raise _too_large(max_size)
        return bytes(data)
    if encoding == "gzip":
        return _gunzipped(memoryview(data), max_size)
    if encoding == "deflate":
        return _inflated(data, max_size)
    return _unzstd(bytes(data), max_size)


def _known(call: str, encoding: str) -> str:
    name = encoding.lower()  # RFC 9110: content codings are case-insensitive
    if name not in ENCODINGS:
        raise UnknownEncodingError(
            f"{call}({encoding[:40]!r}): expected one of {', '.join(ENCODINGS)}"
        )
    return name


def _too_large(max_size: int) -> RefusedError:
    return RefusedError(f"larger than {max_size} bytes after decompression", permanent=True)


def _deflated(data: bytes, level: int, wbits: int) -> bytes:
    if isal_zlib is not None and level <= _ISAL_MAX_LEVEL:
        return isal_zlib.compress(data, level, wbits)
    return zlib.compress(data, level, wbits)


def _decompressor(wbits: int) -> Any:
    return (isal_zlib or zlib).decompressobj(wbits=wbits)


_ERROR: type[Exception] = (isal_zlib or zlib).error


def _gunzipped(data: memoryview, max_size: int) -> bytes:
    result = _Bounded(max_size)
    start = _member(data, 0, len(data), result)  # nearly always the only one
    members = 1
    while start < len(data):
        if bytes(data[start : start + 2]) != b"\x1f\x8b":
            raise DecodeError(f"gzip: {len(data) - start} bytes after the end of the stream")
        if members == _MAX_MEMBERS:
            raise DecodeError(f"gzip: more than {_MAX_MEMBERS} members")
        members += 1
        start = _member(data, start, _WINDOW, result)
    return result.joined()


def _member(data: memoryview, start: int, window: int, result: "_Bounded") -> int:
    """Decompress the member that begins at `start`; returns where it ends."""
    stream = _decompressor(_GZIP)
    while not stream.eof:
        piece = data[start : start + window]
        if not piece:
            raise DecodeError("gzip: the body ends before the stream does")
        result.add("gzip", stream.decompress, piece)
        start += len(piece)
    return start - len(stream.unused_data)


def _inflated(data: Bytes, max_size: int) -> bytes:
    # The two bytes of a zlib header are a multiple of 31 with 8 in the low nibble. Raw
    # deflate cannot look like that by chance: those bits would say "stored block" with
    # padding that is not zero, which no encoder writes.
    head = bytes(data[:2])
    wrapped = len(head) == 2 and head[0] & 15 == 8 and (head[0] << 8 | head[1]) % 31 == 0
    stream = _decompressor(_ZLIB if wrapped else _RAW)
    result = _Bounded(max_size)
    result.add("deflate", stream.decompress, data)
    if not stream.eof:
        raise DecodeError("deflate: the body ends before the stream does")
    if stream.unused_data:
        raise DecodeError(f"deflate: {len(stream.unused_data)} bytes after the end of the stream")
    return result.joined()


class _Bounded:
    """Collects pieces up to a limit, and never asks for more than one byte past it."""

    __slots__ = ("_max_size", "_pieces", "_size")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, name: str, decompress: Callable[[Any, int], bytes], data: Bytes) -> None:
        try:
            piece = decompress(data, self._max_size - self._size + 1)
        except _ERROR as error:
            raise DecodeError(f"{name}: {error}") from None
        self._size += len(piece)
        if self._size > self._max_size:
            raise _too_large(self._max_size)
        self._pieces.append(piece)

    def joined(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


def _unzstd(data: bytes, max_size: int) -> bytes:
    _check_zstd_frames(data)
    window = max(_ZSTD_WINDOW, max_size)  # a one-segment frame's window is its content
    try:
        stream = zstandard.ZstdDecompressor(max_window_size=window).stream_reader(
            data, read_across_frames=True
        )
        result = stream.read(max_size + 1)
    except zstandard.ZstdError as error:
        raise DecodeError(f"zstd: {error}") from None
    if len(result) > max_size:
        raise _too_large(max_size)
    return result


def _check_zstd_frames(data: bytes) -> None:
    """Walk the block headers of every frame (RFC 8878, 3.1).

    The streaming reader is the only one with a limit, and it takes a body that ends early
    for one that is complete.
    """
    at, end = 0, len(data)
    while at < end or at == 0:
        if data[at + 1 : at + 4] == b"\x2a\x4d\x18" and data[at] >> 4 == 5:  # skippable
            at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        else:
            try:
                frame = zstandard.get_frame_parameters(data[at : at + 18])  # the longest header
            except zstandard.ZstdError as error:
                raise DecodeError(f"zstd: at byte {at}: {error}") from None
            at += zstandard.frame_header_size(data[at : at + 18])
            last = False
            while not last and at + 3 <= end:
                block = int.from_bytes(data[at : at + 3], "little")
                last = bool(block & 1)
                at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)  # 1: one byte, repeated
            at += 4 if frame.has_checksum else 0
            if not last:
                at = end + 1
        if at > end:
            raise DecodeError("zstd: the body ends before the stream does")
