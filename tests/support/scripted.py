"""One backend that misbehaves as a script says, over gRPC and over HTTP alike.

    with backend("grpc", refuse(wait=1), TAKE) as there:
        ops.export(there.exporter())

Each request is answered by the next step; the last one stays. The backend remembers every
request, what it did with it, and when it came. It is the real server of each transport
behind a relay, which is what can cut a connection mid-response or be down.
"""

import email.utils
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial as bound
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from rxotlp import exporters
from rxotlp.data import TelemetryData
from rxotlp.wire.signals import Signal
from tests.support import otlp_grpc_server, otlp_http_server
from tests.support.relay import Relay, relay

__all__ = [
    "CUT",
    "DROP",
    "GARBAGE",
    "HANG",
    "HUGE",
    "TAKE",
    "TRANSPORTS",
    "Backend",
    "Request",
    "Step",
    "backend",
    "partial",
    "refuse",
]

TRANSPORTS = ("grpc", "http")
LONGEST_HANG = 5.0  # seconds; clients in tests are less patient

_SIGNALS = {signal.names.grpc_method: signal for signal in Signal} | {
    signal.names.http_path: signal for signal in Signal
}


@dataclass(frozen=True)
class Step:
    """What is done with one request.

    Attributes:
        takes: it keeps the telemetry, whatever its sender hears.
        code, status: the answer over gRPC and over HTTP.
        body: of a success.
        rejected: how many items that says are refused.
        message: of an error.
        wait: seconds that an error asks for: RetryInfo, or Retry-After.
        date: Retry-After as an HTTP date.
        hang: do not answer.
        cut: end the connection after so many bytes of the answer.
    """

    takes: bool = True
    code: grpc.StatusCode = grpc.StatusCode.OK
    status: int = 200
    body: bytes = b""
    rejected: int = 0
    message: str = ""
    wait: float | None = None
    date: bool = False
    hang: bool = False
    cut: int | None = None


def partial(rejected: int, message: str = "") -> Step:
    """Partial success. On the wire it is the same for every signal."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = rejected
    response.partial_success.error_message = message
    return Step(body=response.SerializeToString(), rejected=rejected)


def refuse(
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
    status: int = 503,
    *,
    message: str = "scripted",
    wait: float | None = None,
    date: bool = False,
) -> Step:
    """An error, retryable unless told otherwise."""
    return Step(False, code, status, message=message, wait=wait, date=date)


TAKE = Step()
HANG = Step(takes=False, hang=True)
CUT = Step(cut=7)  # took it, and the answer breaks off
DROP = Step(takes=False, cut=0)
GARBAGE = Step(body=b"\xff\xff\xff")
HUGE = partial(1, "x" * (5 << 20))


@dataclass(frozen=True)
class Request:
    """One request and what was done with it.

    Attributes:
        body: as protobuf or JSON, decompressed.
        headers: names in lower case.
        at: of `time.monotonic()`.
        peer: the connection, as a number.
    """

    signal: Signal
    body: bytes
    headers: dict[str, str]
    at: float
    peer: int
    step: Step = field(default=TAKE)

    @property
    def data(self) -> TelemetryData:
        """What it carried."""
        if self.headers.get("content-type") == "application/json":
            return TelemetryData.from_json(self.signal, self.body)
        return TelemetryData.from_bytes(self.signal, self.body)

    @property
    def names(self) -> list[str]:
        """The names of its spans."""
        return [span.name for span in self.data.records()]


Script = Callable[[Request], Step]


class Backend:
    """A running backend; made by `backend`.

    Attributes:
        script: says the step for a request; may be replaced.
        requests: every one, in order of arrival.
    """

    def __init__(self, transport: str, script: Script, wire: Relay) -> None:
        self.transport = transport
        self.script = script
        self.requests: list[Request] = []
        self.wire = wire
        self.released = threading.Event()  # ends every hang

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.wire.port}"

    @property
    def taken(self) -> list[Request]:
        """What it kept."""
        return [request for request in list(self.requests) if request.step.takes]

    def exporter(self, **arguments: Any) -> exporters.OtlpGrpc | exporters.OtlpHttp:
        """An exporter of ours to it."""
        kind = exporters.OtlpGrpc if self.transport == "grpc" else exporters.OtlpHttp
        return kind(self.url, **arguments)

    def serve(self, request: Request) -> Step:
        """Note a request and say what to do with it; cuts what is to be cut."""
        step = self.script(request)
        self.requests.append(
            Request(request.signal, request.body, request.headers, request.at, request.peer, step)
        )
        if step.cut is not None:
            self.wire.cut(request.peer, after=step.cut)
        return step


@contextmanager
def backend(transport: str, *steps: Step, script: Script | None = None) -> Iterator[Backend]:
    """A backend for the time of a `with` block; without steps it takes everything.

    Args:
        steps: one a request; the last one stays.
        script: instead of steps.
    """
    with ExitStack() as stack:
        if transport == "grpc":
            calls = stack.enter_context(otlp_grpc_server.serve())
            there = Backend(transport, script or _in_order(steps), _relay(stack, calls.port))
            calls.script = bound(_grpc, there)
        else:
            server = stack.enter_context(otlp_http_server.serve())
            there = Backend(transport, script or _in_order(steps), _relay(stack, server.port))
            server.script = bound(_http, there)
        stack.callback(there.released.set)
        yield there


def _relay(stack: ExitStack, port: int) -> Relay:
    return stack.enter_context(relay(port))


def _in_order(steps: tuple[Step, ...]) -> Script:
    left = list(steps or (TAKE,))
    lock = threading.Lock()

    def script(_request: Request) -> Step:
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    return script


def _grpc(there: Backend, call: otlp_grpc_server.Call) -> bytes:
    context = call.context
    peer = int(context.peer().rpartition(":")[2] or 0)  # "" when it has gone already
    step = there.serve(
        Request(_SIGNALS[call.method], call.body, call.metadata, time.monotonic(), peer)
    )
    if step.hang:
        gone = threading.Event()
        if context.add_callback(gone.set):  # the client's deadline, or the server's end
            gone.wait(LONGEST_HANG)
    if step.code is not grpc.StatusCode.OK:
        if step.wait is not None:
            detail = AnyMessage()
            delay = Duration()
            delay.FromNanoseconds(round(step.wait * 1e9))
            detail.Pack(RetryInfo(retry_delay=delay))
            status = Status(code=step.code.value[0], message=step.message, details=[detail])
            context.set_trailing_metadata(
                (("grpc-status-details-bin", status.SerializeToString()),)
            )
        context.abort(step.code, step.message)
    return step.body


def _http(there: Backend, request: otlp_http_server.Request) -> otlp_http_server.Reply:
    step = there.serve(
        Request(
            _SIGNALS[request.path],
            request.payload,
            request.headers,
            time.monotonic(),
            request.peer[1],
        )
    )
    if step.hang:
        there.released.wait(LONGEST_HANG)
    headers = {}
    if step.wait is not None:
        headers["Retry-After"] = (
            email.utils.formatdate(time.time() + step.wait, usegmt=True)
            if step.date
            else f"{step.wait:g}"
        )
    body = step.body
    if step.status >= 400:
        body = Status(message=step.message).SerializeToString()
    return otlp_http_server.Reply(step.status, body, headers)
