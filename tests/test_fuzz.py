"""Hostile input: nothing crashes, hangs or takes memory without bound; errors are conformant.

A second or two here, derandomized; with RXOTLP_SOAK=1 (`make soak`) twenty times as
many examples, at random. What they found is below, each as a test of its own.
"""

import pytest
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from rxotlp import Signal
from rxotlp.errors import DecodeError
from rxotlp.wire import compression
from rxotlp.wire.validate import MAX_BAD, validate
from tests.support import fuzz
from tests.support.hostile import SOAK, json_requests, many, mutated, peak_of
from tests.support.requests import length, requests

EVERY = pytest.mark.parametrize("signal", list(Signal), ids=lambda signal: signal.value)

pytestmark = pytest.mark.timeout(3600 if SOAK else 120)


@EVERY
def test_bytes_that_may_be_a_request_are_read_or_refused(signal: Signal) -> None:
    """Bit flips, cuts, repetitions; and what was let in can be processed."""

    @many(40)
    @given(mutated(requests(signal)) | st.binary(max_size=60))
    def check(payload: bytes) -> None:
        fuzz.wire(signal, payload)

    check()


@EVERY
def test_text_that_may_be_json_is_read_or_refused(signal: Signal) -> None:
    """The same in JSON, of the right shape or of none."""

    @many(40)
    @given(json_requests() | mutated(json_requests()) | st.binary(max_size=60))
    def check(data: bytes) -> None:
        fuzz.json_text(signal, data)

    check()


@pytest.mark.parametrize("encoding", fuzz.ENCODINGS)
def test_compressed_bodies_are_read_or_refused(encoding: str) -> None:
    """Broken frames, wrong sizes and checksums, several members, garbage behind them."""
    good = st.binary(max_size=300).map(lambda data: compression.compress(encoding, data))

    @many(60)
    @given(mutated(good) | st.binary(max_size=60))
    def check(data: bytes) -> None:
        fuzz.compressed(encoding, data)

    check()


def test_files_are_cut_or_refused() -> None:
    """Lines and sizes; the reader of a file is a receiver too."""

    @many(60)
    @given(st.binary(max_size=300) | mutated(requests(Signal.LOGS)))
    def check(data: bytes) -> None:
        fuzz.framed(data)

    check()


@EVERY
def test_what_a_backend_answers_is_read_or_refused(signal: Signal) -> None:
    """It is no friend either."""
    good = st.builds(
        lambda code, message: Status(code=code, message=message).SerializeToString(),
        st.integers(0, 20),
        st.text(max_size=20),
    )

    @many(40)
    @given(mutated(good) | json_requests() | st.binary(max_size=40) | st.text().map(str.encode))
    def check(data: bytes) -> None:
        fuzz.responses(signal, data)

    check()


# -- what was found -----------------------------------------------------------------------------


@pytest.mark.timeout(60)
@pytest.mark.parametrize("record", [b"", b"\x0a\x01x\x12\x01x" + b"\x2a\x20" + b"n" * 32])
def test_a_request_of_nothing_but_bad_records_is_refused_whole(record: bytes) -> None:
    """Taken apart record by record, 64 MiB (65 kB when compressed) took 33 GB and minutes."""
    payload = length(1, length(2, length(2, record) * (10 * MAX_BAD)))

    def check() -> None:
        with pytest.raises(DecodeError, match="bad") as caught:
            validate(Signal.TRACES, payload)
        assert caught.value.path.startswith("resource_spans[0].scope_spans[0]")

    assert peak_of(check) < 150 << 20


@pytest.mark.parametrize("depth", [1, 2])
def test_resources_and_scopes_of_nothing_are_refused_when_they_are_absurdly_many(
    depth: int,
) -> None:
    """Counting 64 MiB of them took minutes, while all other senders waited."""
    payload = length(depth, b"") * (10 * MAX_BAD)
    if depth == 2:
        payload = length(1, payload)
    for signal in Signal:
        with pytest.raises(DecodeError, match=r"more than \d+ fields in \d+ bytes"):
            validate(signal, payload)
        few = payload[:2000] if depth == 1 else length(1, length(2, b"") * 1000)
        assert validate(signal, few).accepted == 0


def test_some_bad_records_among_many_are_still_picked_out() -> None:
    """The rule above is for the absurd."""
    good = length(2, length(1, b"\1" * 16) + length(2, b"\1" * 8))
    bad = length(2, length(1, b"\1" * 15))
    payload = length(1, length(2, good * 5000 + bad * 5000 + good))
    checked = validate(Signal.TRACES, payload)
    assert (checked.accepted, checked.rejected) == (5001, 5000)


def test_protobuf_itself_refuses_what_it_cannot_read() -> None:
    """The assumption below all of it: an exception of its own, and no other."""
    for signal in Signal:
        with pytest.raises(ProtobufDecodeError):
            signal.names.request.FromString(b"\x0a\xff")
