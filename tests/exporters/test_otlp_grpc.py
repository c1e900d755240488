"""`OtlpGrpc` against a server that misbehaves on request, over real sockets."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from rxotlp._core.outcomes import DELIVERED, FILTERED, Cause, Kind, Outcome
from rxotlp.data import TelemetryData
from rxotlp.exporters import OtlpGrpc
from rxotlp.wire.signals import Signal
from tests.support.otlp_grpc_server import Call, Server, serve
from tests.support.otlp_http_server import closed_port

Make = Callable[..., TelemetryData]

RETRYABLE = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that takes everything unless a test scripts it."""
    with serve() as server:
        yield server


def export(exporter: OtlpGrpc, *elements: TelemetryData) -> list[Outcome]:
    """One attempt for each element, one after the other, then close."""

    async def main() -> list[Outcome]:
        try:
            return [await exporter.export(data) for data in elements]
        finally:
            await exporter.aclose()

    return asyncio.run(main())


def aborts(
    code: grpc.StatusCode, message: str = "", *, retry: float | None = None
) -> Callable[[Call], NoReturn]:
    """A script that refuses with a code and, if told, with RetryInfo."""

    def script(call: Call) -> NoReturn:
        if retry is None:
            call.context.abort(code, message)
        detail = AnyMessage()
        detail.Pack(RetryInfo(retry_delay=Duration(nanos=round(retry * 1e9))))
        status = Status(code=code.value[0], message=message, details=[detail])
        call.context.abort_with_status(rpc_status.to_status(status))

    return script


def wait(server: Server) -> Callable[[Call], bytes]:
    """A script that answers when the test says so."""

    def script(call: Call) -> bytes:
        server.release.wait(10)
        return b""

    return script


def partial(rejected: int, message: str) -> bytes:
    """A response with partial success."""
    response = trace_service_pb2.ExportTraceServiceResponse()
    response.partial_success.rejected_spans = rejected
    response.partial_success.error_message = message
    return response.SerializeToString()


def test_bytes_leave_as_they_are_under_our_name(server: Server, spans: Make, logs: Make) -> None:
    """C12, C15: nothing is decoded or encoded again; each signal calls its service."""
    data = spans(3)
    exporter = OtlpGrpc(server.url, headers={"Api-Key": "k"})
    assert export(exporter, data, logs()) == [DELIVERED, DELIVERED]
    traces, records = server.calls
    assert traces.body == data.to_bytes()
    assert traces.method == Signal.TRACES.names.grpc_method
    assert records.method == Signal.LOGS.names.grpc_method
    assert traces.metadata["api-key"] == "k"
    assert traces.metadata["user-agent"].startswith("OTel-OTLP-Exporter-Python-rxotlp/")


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compression_is_used(server: Server, spans: Make, compression: str) -> None:
    """The server takes it apart; what arrives is what was sent."""
    data = spans(50)
    seen: list[str] = []

    def script(call: Call) -> bytes:
        seen.extend(value for key, value in call.metadata.items() if key == "grpc-encoding")
        return b""

    server.script = script
    assert export(OtlpGrpc(server.url, compression=compression), data) == [DELIVERED]
    assert server.calls[0].body == data.to_bytes()


def test_c14_an_empty_request_is_not_sent(server: Server, spans: Make) -> None:
    """C14: and nothing was lost, so its sender hears success."""
    assert export(OtlpGrpc(server.url), spans(0)) == [FILTERED]
    assert server.calls == []


def test_c11_one_connection_serves_call_after_call(server: Server, spans: Make) -> None:
    """C11: and every exporter has a connection of its own."""
    export(OtlpGrpc(server.url), *(spans(1) for _ in range(5)))
    export(OtlpGrpc(server.url), spans(1))
    assert len({call.context.peer() for call in server.calls[:5]}) == 1
    assert len({call.context.peer() for call in server.calls}) == 2


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.value[0]])
def test_c2_exactly_the_listed_codes_are_retryable(
    server: Server, spans: Make, code: grpc.StatusCode
) -> None:
    """C2, C5: retrying what can never succeed blocks what could."""
    server.script = aborts(code, "no\nroom")
    (outcome,) = export(OtlpGrpc(server.url), spans(1))
    assert outcome.kind is (Kind.FAILED if code in RETRYABLE else Kind.REJECTED)
    assert outcome.reason == f"127.0.0.1:{server.port} answered {code.name}: no room"
    assert outcome.retry_after is None


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE])
def test_c2_c6_retry_info_makes_exhaustion_retryable_and_gives_the_time(
    server: Server, spans: Make, code: grpc.StatusCode
) -> None:
    """C2, C6: the server says that it recovers, and when."""
    server.script = aborts(code, "full", retry=0.5)
    (outcome,) = export(OtlpGrpc(server.url), spans(1))
    assert (outcome.kind, outcome.retry_after) == (Kind.FAILED, 0.5)


def test_c4_partial_success_rejects_its_count(server: Server, spans: Make) -> None:
    """C4: never retried; the count goes into the books."""
    server.script = lambda call: partial(2, "too old")
    (outcome,) = export(OtlpGrpc(server.url), spans(5))
    assert (outcome.kind, outcome.items) == (Kind.REJECTED, 2)
    assert "too old" in outcome.reason


def test_c4_a_warning_is_a_delivery_with_a_text(server: Server, spans: Make) -> None:
    """C4: rejected 0 with a message is for people to read."""
    server.script = lambda call: partial(0, "use v2")
    (outcome,) = export(OtlpGrpc(server.url), spans(5))
    assert outcome.kind is Kind.DELIVERED
    assert "use v2" in outcome.warning


def test_an_unreadable_success_is_a_delivery_with_a_warning(server: Server, spans: Make) -> None:
    """OK says that it was taken; sending it again would double it."""
    server.script = lambda call: b"\xff\xff"
    (outcome,) = export(OtlpGrpc(server.url), spans(1))
    assert outcome.kind is Kind.DELIVERED
    assert outcome.warning


def test_c9_a_response_over_4_mib_is_refused(server: Server, spans: Make) -> None:
    """C9: a broken backend must not fill our memory; not retryable."""
    server.script = lambda call: bytes(4 * 1024 * 1024 + 1)
    (outcome,) = export(OtlpGrpc(server.url), spans(1))
    assert outcome.kind is Kind.REJECTED


def test_c7_nobody_listening_is_retryable_and_named(spans: Make) -> None:
    """C7: backends restart; the message must say which."""
    port = closed_port()
    (outcome,) = export(OtlpGrpc(f"http://127.0.0.1:{port}"), spans(1))
    assert outcome.kind is Kind.FAILED
    assert f"127.0.0.1:{port} answered UNAVAILABLE" in outcome.reason


def test_c7_a_server_that_comes_back_is_found_again(spans: Make) -> None:
    """C7: without closing the exporter."""

    async def main() -> None:
        with serve() as first:
            exporter = OtlpGrpc(first.url)
            assert await exporter.export(spans(1)) is DELIVERED
        assert (await exporter.export(spans(1))).kind is Kind.FAILED
        await exporter.aclose()

    asyncio.run(main())


def test_a_silent_server_is_a_retryable_failure_in_time(server: Server, spans: Make) -> None:
    """An attempt must end, or its slot is lost."""
    server.script = wait(server)
    (outcome,) = export(OtlpGrpc(server.url, timeout=0.2), spans(1))
    assert outcome.kind is Kind.FAILED
    assert "DEADLINE_EXCEEDED" in outcome.reason


def test_a_cancelled_export_cancels_its_call(server: Server, spans: Make) -> None:
    """`ops.export(timeout=)` cancels; the server should learn of it."""
    server.script = wait(server)
    exporter = OtlpGrpc(server.url)

    async def main() -> None:
        attempt = asyncio.ensure_future(exporter.export(spans(1)))
        while not server.calls:
            await asyncio.sleep(0.01)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        while server.calls[0].context.is_active():
            await asyncio.sleep(0.01)
        await exporter.aclose()

    asyncio.run(main())


def test_close_from_another_thread_fails_calls_under_way(server: Server, spans: Make) -> None:
    """A pipeline is stopped from the main thread; nobody must wait for ever."""
    server.script = wait(server)
    exporter = OtlpGrpc(server.url)

    async def main() -> Outcome:
        attempt = asyncio.ensure_future(exporter.export(spans(1)))
        while not server.calls:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(exporter.close)
        return await attempt

    assert asyncio.run(main()).kind is Kind.FAILED


def test_c1_calls_run_concurrently(server: Server, spans: Make) -> None:
    """C1: latency must not bound throughput."""
    server.script = wait(server)
    exporter = OtlpGrpc(server.url)

    async def main() -> list[Outcome]:
        attempts = [asyncio.ensure_future(exporter.export(spans(1))) for _ in range(4)]
        while len(server.calls) < 4:
            await asyncio.sleep(0.01)
        server.release.set()
        outcomes = await asyncio.gather(*attempts)
        await exporter.aclose()
        return outcomes

    assert asyncio.run(main()) == [DELIVERED] * 4


def test_c8_what_is_too_large_is_not_sent(server: Server, spans: Make) -> None:
    """C8: it says what would fit, and `ops.export` cuts it."""
    data = spans(100, padding=100)
    (outcome,) = export(OtlpGrpc(server.url, max_request_size=4000), data)
    assert (outcome.kind, outcome.cause, outcome.fits) == (Kind.REJECTED, Cause.TOO_LARGE, 4000)
    assert server.calls == []


def test_c8_by_default_what_grpc_servers_accept_is_not_exceeded(
    server: Server, spans: Make
) -> None:
    """C8: 4 MiB is the default limit of a gRPC server."""
    data = spans(5000, padding=1000)
    assert data.size > 4 * 1024 * 1024
    (outcome,) = export(OtlpGrpc(server.url), data)
    assert (outcome.cause, outcome.fits) == (Cause.TOO_LARGE, 4 * 1024 * 1024)


def test_the_environment_configures_it(
    server: Server, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environment: the scheme decides over INSECURE, the signal's own wins."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://nowhere.invalid:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", server.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", "false")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b")
    assert export(OtlpGrpc(), spans(1)) == [DELIVERED]
    assert server.calls[0].metadata["api-key"] == "a b"


def test_the_environments_protocol_does_not_unmake_the_exporter(
    server: Server, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes OtlpGrpc has chosen gRPC, whatever PROTOCOL says for others."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
    assert export(OtlpGrpc(), spans(1)) == [DELIVERED]


def test_a_compression_that_grpc_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable may be meant for HTTP exporters; sending plainly would surprise."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")
    with pytest.raises(ValueError, match=r"COMPRESSION='zstd'.*gzip"):
        OtlpGrpc()


def test_a_unix_socket_is_reached(spans: Make, tmp_path: Any) -> None:
    """Agents beside us listen on one."""
    path = f"unix:{tmp_path}/s"
    with serve(address=path) as server:
        assert export(OtlpGrpc(path, insecure=True), spans(1)) == [DELIVERED]
        assert len(server.calls) == 1


def test_an_endpoint_without_a_scheme_is_plain_when_told(server: Server, spans: Make) -> None:
    """`HOST:PORT` is gRPC's own way to write it; secure unless told otherwise."""
    address = f"127.0.0.1:{server.port}"
    assert export(OtlpGrpc(address, insecure=True), spans(1)) == [DELIVERED]
    assert export(OtlpGrpc(address), spans(1))[0].kind is Kind.FAILED


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"endpoint": "localhost"}, "expected .*HOST:PORT"),
        ({"endpoint": "ftp://localhost:21"}, "scheme 'ftp'"),
        ({"endpoint": "http://localhost:4317/v1/traces"}, "'/v1/traces'"),
        ({"compression": "zstd"}, "compression='zstd'"),
        ({"timeout": -1}, "timeout=-1"),
        ({"max_request_size": 0}, "max_request_size=0"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(arguments: dict[str, Any], text: str) -> None:
    """Where the pipeline is written, not with the first element."""
    with pytest.raises(ValueError, match=text):
        OtlpGrpc(**arguments)


def test_no_secret_is_in_any_text(
    server: Server, spans: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Reprs, reasons and logs are read by many; the server even repeats the key."""
    caplog.set_level(logging.DEBUG)
    server.script = lambda call: call.context.abort(
        grpc.StatusCode.UNAUTHENTICATED, f"bad {call.metadata['authorization']}"
    )
    exporter = OtlpGrpc(server.url, headers={"Authorization": "Bearer sEcReT-1"})
    (outcome,) = export(exporter, spans(1))
    texts = [repr(exporter), str(vars(exporter)), outcome.reason, caplog.text]
    assert not [text for text in texts if "sEcReT" in text]
    assert outcome.reason.endswith("bad ***")


def test_tls_with_and_without_a_client_certificate(certificates: Any, spans: Make) -> None:
    """Mutual TLS: who shows no certificate is not let in, and that is a failed connection."""
    credentials = grpc.ssl_server_credentials(
        [
            (
                certificates.server.private_key_pem.bytes(),
                certificates.server.cert_chain_pems[0].bytes(),
            )
        ],
        root_certificates=certificates.authority.cert_pem.bytes(),
        require_client_auth=True,
    )
    with serve(credentials=credentials) as server:
        known = OtlpGrpc(
            server.url,
            certificate=certificates.ca_file,
            client_certificate=certificates.client_file,
            client_key=certificates.client_key_file,
        )
        assert export(known, spans(1)) == [DELIVERED]
        unknown = OtlpGrpc(server.url, certificate=certificates.ca_file)
        assert export(unknown, spans(1))[0].kind is Kind.FAILED


def test_a_missing_certificate_file_is_named_at_once(tmp_path: Any) -> None:
    """Not with the first element."""
    with pytest.raises(OSError, match=r"missing\.pem"):
        OtlpGrpc("https://localhost:4317", certificate=str(tmp_path / "missing.pem"))


def test_one_exporter_serves_several_loops_at_once_quietly(
    server: Server, spans: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """grpc.aio's one poller is noisy with several loops; ours must not be."""
    caplog.set_level(logging.WARNING)
    exporter = OtlpGrpc(server.url)
    outcomes: list[Outcome] = []

    async def main() -> None:
        outcomes.extend([await exporter.export(spans(1)) for _ in range(20)])

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    exporter.close()
    assert outcomes == [DELIVERED] * 80
    assert caplog.text == ""


def test_close_leaves_no_thread_and_an_export_opens_again(server: Server, spans: Make) -> None:
    """Channels have threads; a pipeline that was stopped must leave none."""
    before = threading.active_count()
    exporter = OtlpGrpc(server.url)
    assert export(exporter, spans(1)) == [DELIVERED]
    assert export(exporter, spans(1)) == [DELIVERED]
    exporter.close()
    pause = threading.Event()
    for _ in range(500):  # the server's pool has threads of its own, made by the calls
        if not [name for name in map(repr, threading.enumerate()) if "channel_spin" in name]:
            break
        pause.wait(0.01)
    assert threading.active_count() <= before + 4


def test_a_forked_child_opens_channels_of_its_own(server: Server) -> None:
    """With gRPC's own fork support on; the parent's channel goes on working afterwards."""
    program = f"""
import asyncio, os, sys
from rxotlp.data import TelemetryData
from rxotlp.exporters import OtlpGrpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

request = trace_service_pb2.ExportTraceServiceRequest()
request.resource_spans.add().scope_spans.add().spans.add(name="a")
data = TelemetryData.from_message(request)
exporter = OtlpGrpc({server.url!r})

def delivered():
    outcome = asyncio.run(exporter.export(data))
    print(os.getpid(), outcome, file=sys.stderr)
    return outcome.success

assert delivered()
child = os.fork()
if not child:
    os._exit(0 if delivered() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert delivered()
exporter.close()
"""
    environment = {**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(server.calls) == 3
