"""A sender of raw OTLP requests that hears the same over gRPC and HTTP, in one vocabulary.

For what opentelemetry-sdk's exporters do not show: they keep an answer's details to
themselves, and never send a bad request.
"""

import gzip
import http.client
import json
import zlib
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import json_format
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from rxotlp.wire.signals import Signal

__all__ = ["Heard", "post", "send"]

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

_WORDS = {
    "OK": "success",
    "INVALID_ARGUMENT": "invalid",
    "UNAVAILABLE": "unavailable",
    "RESOURCE_EXHAUSTED": "exhausted",
    "200": "success",
    "400": "invalid",
    "413": "exhausted",
    "429": "unavailable",
    "503": "unavailable",
}
_GRPC_COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


@dataclass(frozen=True)
class Heard:
    """An answer.

    Attributes:
        word: "success", "invalid", "unavailable", "exhausted", or the code itself.
        code: gRPC's name or HTTP's number.
        response: of a success: the Export...ServiceResponse.
        status: of an error: its google.rpc.Status, None when it has none.
        wait: seconds it asks for (RetryInfo, Retry-After).
        size: bytes of the response.
    """

    word: str
    code: str
    response: Any
    status: Status | None
    wait: float | None
    size: int
    headers: dict[str, str]

    def details(self, kind: Any) -> list[Any]:
        """The details of one kind in the status."""
        found = []
        for detail in self.status.details if self.status is not None else ():
            message = kind()
            if detail.Unpack(message):
                found.append(message)
        return found

    @property
    def violations(self) -> list[Any]:
        """BadRequest's."""
        return [one for bad in self.details(BadRequest) for one in bad.field_violations]


def send(
    transport: str,
    address: str,
    payload: bytes,
    *,
    signal: Signal = Signal.TRACES,
    compression: str = "none",
    timeout: float = 20.0,
) -> Heard:
    """Send one request in protobuf on a connection of its own."""
    if transport == "grpc":
        return _call(address, payload, signal, compression, timeout)
    headers = {"Content-Type": PROTOBUF}
    if compression != "none":
        payload = gzip.compress(payload) if compression == "gzip" else zlib.compress(payload)
        headers["Content-Encoding"] = compression
    return post(address, signal.names.http_path, payload, headers, signal=signal, timeout=timeout)


def post(
    address: str,
    path: str,
    payload: bytes,
    headers: dict[str, str],
    *,
    method: str = "POST",
    signal: Signal = Signal.TRACES,
    timeout: float = 20.0,
) -> Heard:
    """One HTTP request."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request(method, path, payload, headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    got = {name.lower(): value for name, value in answer.getheaders()}
    asked = got.get("retry-after")
    wait = None if asked is None else float(asked)
    kind = got.get("content-type", "")
    cls: Any = signal.names.response if answer.status == 200 else Status
    message = cls()
    if kind == JSON:
        json_format.ParseDict(json.loads(body), message)
    else:
        message = cls.FromString(body)
    good = answer.status == 200
    code = str(answer.status)
    return Heard(
        _WORDS.get(code, code),
        code,
        message if good else None,
        None if good else message,
        wait,
        len(body),
        got,
    )


def _call(address: str, payload: bytes, signal: Signal, compression: str, timeout: float) -> Heard:
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
    ]
    with grpc.insecure_channel(address, options=options) as channel:
        method: Any = channel.unary_unary(signal.names.grpc_method)  # type: ignore[call-arg]
        try:
            body = method(payload, timeout=timeout, compression=_GRPC_COMPRESSIONS[compression])
        except grpc.RpcError as raised:
            error: Any = raised
            code = error.code().name
            status = None
            for key, value in error.trailing_metadata() or ():
                if key == "grpc-status-details-bin":
                    status = Status.FromString(value)
            heard = Heard(_WORDS.get(code, code), code, None, status, None, 0, {})
            waits = [
                info.retry_delay.ToTimedelta().total_seconds() for info in heard.details(RetryInfo)
            ]
            wait = waits[0] if waits else None
            return Heard(heard.word, code, None, status, wait, 0, {"grpc-message": error.details()})
    response = signal.names.response.FromString(body)
    return Heard("success", "OK", response, None, None, len(body), {})
