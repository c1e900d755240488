"""Compression: every encoding both ways, and bodies made to hurt."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxotlp.errors import DecodeError, RefusedError
from rxotlp.wire import compression
from rxotlp.wire.compression import ENCODINGS, UnknownEncodingError, compress, decompress

COMPRESSED = [encoding for encoding in ENCODINGS if encoding != "identity"]
TEXT = b"all happy families are alike; " * 2000


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=2000), level=st.integers(1, 9))
def test_what_is_compressed_comes_back(encoding: str, data: bytes, level: int) -> None:
    """S1: gzip, deflate and zstd both ways, at exactly the size that is allowed."""
    assert decompress(encoding, compress(encoding, data, level=level), len(data)) == data


def test_gzip_and_none_are_always_there() -> None:
    """S1: the two that every server must accept; the rest depends on what is installed."""
    assert {"identity", "gzip", "deflate"} <= set(ENCODINGS)


def test_other_peoples_gzip_and_deflate_are_read_and_ours_is_read_by_them() -> None:
    """S1: isal writes the format, not a dialect of it."""
    assert decompress("gzip", gzip.compress(TEXT), len(TEXT)) == TEXT
    assert gzip.decompress(compress("gzip", TEXT)) == TEXT
    assert zlib.decompress(compress("deflate", TEXT)) == TEXT


def test_without_isal_zlib_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """S1: isal is an extra; nothing but speed may depend on it."""
    monkeypatch.setattr(compression, "isal_zlib", None)
    monkeypatch.setattr(compression, "_ERROR", zlib.error)
    assert decompress("gzip", compress("gzip", TEXT), len(TEXT)) == TEXT
    with pytest.raises(DecodeError, match="gzip"):
        decompress("gzip", b"\x1f\x8b\x08\x00 no deflate data here", 100)


def test_raw_deflate_is_read_too() -> None:
    """S1: some clients take "deflate" at its word and leave the zlib wrapper out."""
    for level in range(10):
        raw = zlib.compress(TEXT, level, wbits=-15)
        assert decompress("deflate", raw, len(TEXT)) == TEXT


def test_several_gzip_members_are_one_body() -> None:
    """S1: RFC 1952 allows it, and senders that compress in parallel do it."""
    body = gzip.compress(b"a") + compress("gzip", TEXT) + gzip.compress(b"")
    assert decompress("gzip", body, len(TEXT) + 1) == b"a" + TEXT
    with pytest.raises(RefusedError):
        decompress("gzip", body, len(TEXT))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_byte_over_the_limit_is_refused_for_good(encoding: str) -> None:
    """S2: a retry of the same body cannot succeed, so it must not be retried."""
    with pytest.raises(RefusedError, match=f"larger than {len(TEXT) - 1} bytes") as caught:
        decompress(encoding, compress(encoding, TEXT), len(TEXT) - 1)
    assert caught.value.permanent
    with pytest.raises(RefusedError):
        decompress(encoding, compress(encoding, TEXT), 0)


@pytest.mark.parametrize("encoding", COMPRESSED)
def test_a_bomb_is_stopped_at_the_limit_and_not_after_it(encoding: str) -> None:
    """S2: 100 MB out of a body of a few kilobytes must never be in memory."""
    bomb = compress(encoding, b"\0" * 100_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError):
            decompress(encoding, bomb, 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_body_of_many_empty_gzip_members_is_given_up() -> None:
    """S2: its size is nothing and its work is everything; work is limited as well."""
    with pytest.raises(DecodeError, match="more than 1000 members"):
        decompress("gzip", gzip.compress(b"") * 100_000, 10)


@pytest.mark.parametrize("encoding", COMPRESSED)
def test_a_body_that_ends_early_is_refused(encoding: str) -> None:
    """Half a body may hold whole spans; taking it would lose the rest in silence."""
    body = compress(encoding, TEXT)
    for length in range(len(body)):
        with pytest.raises(DecodeError, match=encoding):
            decompress(encoding, body[:length], len(TEXT))


@pytest.mark.parametrize("encoding", COMPRESSED)
@pytest.mark.parametrize("tail", [b"\0", b"trailing garbage of some length"])
def test_a_body_that_goes_on_after_its_end_is_refused(encoding: str, tail: bytes) -> None:
    """What follows may be a second request glued on by a broken proxy."""
    with pytest.raises(DecodeError, match=encoding):
        decompress(encoding, compress(encoding, TEXT) + tail, len(TEXT))


@pytest.mark.parametrize("encoding", COMPRESSED)
def test_a_flipped_bit_never_passes_for_data(encoding: str) -> None:
    """Every format we write carries a checksum, and every one is looked at."""
    body = compress(encoding, TEXT)
    for at in range(len(body)):
        damaged = bytearray(body)
        damaged[at] ^= 0x10
        try:
            assert decompress(encoding, bytes(damaged), len(TEXT)) == TEXT  # e.g. the OS byte
        except (DecodeError, RefusedError):
            continue


@pytest.mark.parametrize("encoding", COMPRESSED)
@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=200))
def test_noise_is_refused_and_never_crashes(encoding: str, data: bytes) -> None:
    """A receiver's loop survives whatever arrives on its port."""
    try:
        decompress(encoding, data, 1000)
    except (DecodeError, RefusedError):
        return


def test_zstd_frames_without_a_size_or_with_others_around_them_are_read() -> None:
    """S1: streaming encoders know no size in advance, and a body may hold several frames."""
    zstandard = pytest.importorskip("zstandard")
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)
    skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
    body = skippable + frame + skippable + compress("zstd", b"b")
    assert decompress("zstd", body, len(TEXT) + 1) == TEXT + b"b"
    for length in range(len(frame)):
        with pytest.raises(DecodeError):
            decompress("zstd", frame[:length], len(TEXT))


def test_encodings_are_read_in_any_case() -> None:
    """HTTP's content codings are case-insensitive."""
    assert decompress("GZip", compress("gzip", TEXT), len(TEXT)) == TEXT


def test_an_unknown_encoding_is_told_apart_from_a_bad_body() -> None:
    """S10: the answer to one is 415, to the other 400."""
    with pytest.raises(UnknownEncodingError, match=r"decompress\('br'\): expected one of identity"):
        decompress("br", b"", 10)
    with pytest.raises(UnknownEncodingError, match=r"compress\('br'\)"):
        compress("br", b"")


def test_wrong_arguments_say_what_was_expected() -> None:
    """A level of 0 means "do not compress" to zlib and "fastest" to isal; we take neither."""
    with pytest.raises(ValueError, match=r"compress\(level=0\): expected 1 \(fast\) to 9"):
        compress("gzip", b"", level=0)
    with pytest.raises(ValueError, match=r"decompress\(max_size=-1\): expected 0 or more bytes"):
        decompress("gzip", b"", -1)
