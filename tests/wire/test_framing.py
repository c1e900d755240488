"""Records cut out of bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp.errors import DecodeError
from rxotlp.wire.framing import Cutter, Lines, Sized, end_of_sized, looks_like_json, sized


def all_of(cutter: Cutter, data: bytes, step: int) -> list[bytes]:
    """Every record of a stream that comes in pieces; the offset is checked on the way."""
    found = []
    for at in range(0, len(data), step):
        cutter.feed(data[at : at + step])
        while (record := cutter.cut()) is not None:
            found.append(record)
            assert cutter.number == len(found)
            assert data[: cutter.offset].endswith((record, record + b"\n"))
    last = cutter.rest()
    return found if last is None else [*found, last]


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 400))
def test_messages_come_out_as_they_went_in_however_they_are_cut(
    messages: list[bytes], step: int
) -> None:
    """Reads end anywhere, in the middle of a size too."""
    data = b"".join(map(sized, messages))
    assert all_of(Sized(max_size=300), data, step) == messages


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line)), st.integers(1, 50))
def test_lines_come_out_as_they_went_in_however_they_are_cut(lines: list[bytes], step: int) -> None:
    """The last line counts without a line break too."""
    assert all_of(Lines(max_size=30), b"".join(line + b"\n" for line in lines), step) == lines
    if lines and lines[-1]:
        assert all_of(Lines(max_size=30), b"\n".join(lines), step) == lines


@pytest.mark.parametrize("step", [1, 3, 100])
def test_a_line_that_is_too_long_is_skipped_alone(step: int) -> None:
    """It is not kept in memory meanwhile, and its neighbours are there."""
    cutter, found = Lines(max_size=4), []
    data = b"ab\n" + b"x" * 50 + b"\ncd\n"
    for at in range(0, len(data), step):
        cutter.feed(data[at : at + step])
        while True:
            try:
                record = cutter.cut()
            except DecodeError as error:
                found.append((cutter.number, str(error).encode()))
                continue
            if record is None:
                break
            found.append((cutter.number, record))
    assert found == [(1, b"ab"), (2, b"longer than 4 bytes"), (3, b"cd")]
    assert cutter.offset == len(data)


@pytest.mark.parametrize("data", [b"\xff" * 12, b"\x90\x4e" + b"x" * 9])
def test_a_size_that_makes_no_sense_is_an_error(data: bytes) -> None:
    """Waiting for the rest of a message of exabytes would be waiting forever."""
    cutter = Sized(max_size=100)
    cutter.feed(data)
    with pytest.raises(DecodeError):
        cutter.cut()


def test_a_message_that_the_file_ends_in_is_an_error() -> None:
    """Half a message is no message, and nobody else would say so."""
    cutter = Sized(max_size=100)
    cutter.feed(sized(b"abc")[:-1])
    assert cutter.cut() is None
    with pytest.raises(DecodeError, match="ends inside it"):
        cutter.rest()


def test_the_first_bytes_tell_the_formats_apart() -> None:
    """Also for a message of 123 bytes, whose size is "{"."""
    assert looks_like_json(b'{"resourceSpans":[]}')
    assert looks_like_json(b'\n {"a"')
    assert not looks_like_json(sized(b"\n" + b"\x79" + b"x" * 121))
    assert not looks_like_json(sized(b"\n\x01x"))


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(0, 400))
def test_the_end_of_the_last_whole_message_is_found(messages: list[bytes], cut: int) -> None:
    """A writer that goes on behind half a message would spoil everything after it."""
    ends = [0]
    for message in messages:
        ends.append(ends[-1] + len(sized(message)))
    data = b"".join(map(sized, messages))[: max(0, ends[-1] - cut)]
    whole = max(end for end in ends if end <= len(data))
    assert end_of_sized(lambda at: data[at : at + 10], len(data)) == whole
