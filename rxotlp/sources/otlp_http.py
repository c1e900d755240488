"""OTLP/HTTP: an ASGI application that reads a request, hands it over and writes the answer.

Order of refusal: who sends, path, method, content type, content encoding, whether anybody
listens, declared size, credit. All of that happens before a byte of the body is read; what is
counted while it is read is the limit and, for bodies of undeclared size, the credit. A
protobuf body goes through untouched; a JSON one is encoded as protobuf.

Every 4xx and 5xx body is a google.rpc.Status in the request's content type, or in protobuf
where the request's type is neither of OTLP's.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from math import ceil
from typing import Any

from rxotlp._core.answers import SUCCESS, Answer, http_answer, http_error
from rxotlp._core.statuses import JSON, PROTOBUF, answer_type
from rxotlp.admission import Credit
from rxotlp.errors import DecodeError, RefusedError
from rxotlp.sources.addresses import format_address
from rxotlp.sources.callers import IDENTITY, PEER, Callers, UnknownCallerError
from rxotlp.sources.reception import Reception, log_bad, refusal, undecodable
from rxotlp.wire import compression, json
from rxotlp.wire.signals import Signal

__all__ = ["HttpReceiver", "status_body"]

logger = logging.getLogger("rxotlp")

TYPES = {kind.encode(): kind for kind in (PROTOBUF, JSON)}
SIGNALS = {signal.names.http_path: signal for signal in Signal}
# Full success is the same for every signal: an empty message.
SUCCESSES = {kind: http_answer(Signal.TRACES, SUCCESS, kind) for kind in (PROTOBUF, JSON)}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Refusal(Exception):
    """Ends a request with an HTTP status that no outcome stands for."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class _Gone(Exception):
    """The client has left half-way; nobody is there to be answered."""


class HttpReceiver:
    """The application.

    Args:
        reception: what takes the requests.
        max_request_size: bytes, before and after decompression.
        headers: names of request headers to copy into an element's metadata.
        callers: knows who may send; None lets everybody.
    """

    def __init__(
        self,
        reception: Reception,
        *,
        max_request_size: int,
        headers: Collection[str],
        callers: Callers | None = None,
    ) -> None:
        self._reception = reception
        self._limit = max_request_size
        self._callers = callers
        self._headers = {name.lower().encode("latin-1"): name.lower() for name in headers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        client = scope["client"]
        peer = "an unknown peer" if client is None else format_address(client[0], client[1])
        kind = PROTOBUF
        extra: tuple[tuple[bytes, bytes], ...] = ()
        due = asyncio.get_running_loop().time() + self._reception.patience(None)
        identity: str | None = scope["state"].get("certificate")
        try:
            headers = dict(scope["headers"])
            if scope["state"].get("large_head"):
                raise _Refusal(431, "more bytes of headers than are taken here")
            if self._callers is not None:
                kind = _answer_type(headers)
                identity = await self._identify(self._callers, scope, peer, due)
            signal = _signal(scope)
            kind = _content_type(headers)
            if scope["state"].get("upgrade"):
                raise _Refusal(400, "the Upgrade header is not supported; send plain HTTP/1.1")
            answer = await self._serve(signal, kind, headers, receive, peer, identity, due)
            said = SUCCESSES[kind] if answer is SUCCESS else http_answer(signal, answer, kind)
        except _Refusal as refused:
            # As it was sent: decoded, a path may hold line breaks.
            path = scope["raw_path"][:60].decode("latin-1")
            log_bad(f"HTTP request {scope['method']:.10} {path}", peer, str(refused))
            said, extra = http_error(refused.status, str(refused), kind), refused.headers
        except _Gone:
            if not scope["state"].get("refused"):
                log_bad(scope["path"], peer, "the client disconnected half-way through its body")
            return
        except asyncio.CancelledError:
            if not scope["state"].get("refused"):
                raise
            return  # the server has closed, and answered for us
        except Exception:
            logger.exception("a defect of ours; the request from %s is answered 500", peer)
            said = http_error(500, "internal error", kind)
        body = said.body
        fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in said.headers.items()
        ]
        fields.append((b"content-length", b"%d" % len(body)))
        fields += extra
        await send({"type": "http.response.start", "status": said.status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    async def _identify(self, callers: Callers, scope: Scope, peer: str, due: float) -> str:
        """Who sends; refused before a byte of the body is read, when nobody that is known."""
        given: dict[str, str] = {}
        for raw, value in scope["headers"]:
            name, text = raw.decode("latin-1"), value.decode("latin-1")
            given[name] = f"{given[name]}, {text}" if name in given else text
        try:
            seconds = due - asyncio.get_running_loop().time()
            return await callers.identify(given, peer, seconds)
        except UnknownCallerError as error:
            challenge = callers.challenge.encode("latin-1")
            headers = ((b"www-authenticate", challenge),)
            raise _Refusal(401, str(error), headers=headers) from None
        except RefusedError as error:
            wait = str(ceil(self._reception.source.admission.retry_after)).encode()
            raise _Refusal(503, str(error), headers=((b"retry-after", wait),)) from None

    async def _serve(
        self,
        signal: Signal,
        kind: str,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        peer: str,
        identity: str | None,
        due: float,
    ) -> Answer:
        reception = self._reception
        encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").lower().strip()
        if encoding not in compression.ENCODINGS:
            raise _Refusal(
                415,
                f"content-encoding {encoding[:40]!r}: expected one of "
                f"{', '.join(sorted(compression.ENCODINGS))}",
            )
        clock = asyncio.get_running_loop().time
        declared = _length(headers)
        if declared is not None and declared > self._limit:
            raise self._too_large(f"content-length {declared}")
        credit: Credit | None = None
        try:
            reception.check_open()
            credit = await reception.credit(declared or 0, due - clock())
            try:
                async with asyncio.timeout_at(due):
                    payload = await self._read(receive, credit, declared)
            except TimeoutError:  # it holds credit that others wait for
                late = f"the body was not complete after {reception.patience(None):.1f} s"
                log_bad(signal.value, peer, late)
                retry_after = reception.source.admission.retry_after
                raise RefusedError(late, retry_after=retry_after) from None
            if encoding != "identity":
                payload = compression.decompress(encoding, payload, self._limit)
            if kind == JSON:
                payload = json.decode(signal, payload).SerializeToString()
        except DecodeError as error:
            _release(credit)
            return undecodable(signal, peer, error)
        except RefusedError as error:
            _release(credit)
            return refusal(signal, peer, error)
        except BaseException:
            _release(credit)
            raise
        metadata: dict[str, str] = {}
        for raw, name in self._headers.items():
            value = headers.get(raw)
            if value is not None:
                metadata[name] = value.decode("latin-1")
        metadata[PEER] = peer  # last: no header stands for who it is
        if identity is not None:
            metadata[IDENTITY] = identity
        try:
            return await reception.receive(
                signal,
                payload,
                credit=credit,
                seconds=due - clock(),
                peer=peer,
                metadata=metadata,
            )
        except RefusedError as error:
            return refusal(signal, peer, error)

    async def _read(self, receive: Receive, credit: Credit, declared: int | None) -> bytes:
        """The body; its chunks are joined once."""
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise _Gone
            chunk = message["body"]
            size += len(chunk)
            if declared is None:
                if size > self._limit:
                    raise self._too_large("a body of undeclared length")
                if size > credit.size:
                    credit.resize(size)
            chunks.append(chunk)
            if not message["more_body"]:
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _too_large(self, what: str) -> _Refusal:
        return _Refusal(413, f"{what}: more than the {self._limit} bytes a request may have")


def status_body(status: int, message: str) -> bytes:
    """An HTTP status and a text as an encoded google.rpc.Status."""
    return http_error(status, message, PROTOBUF).body


def _signal(scope: Scope) -> Signal:
    signal = SIGNALS.get(scope["path"])
    if signal is None:
        raise _Refusal(404, f"no such path; expected one of {', '.join(sorted(SIGNALS))}")
    if scope["method"] != "POST":
        raise _Refusal(405, "expected POST", headers=((b"allow", b"POST"),))
    return signal


def _answer_type(headers: Mapping[bytes, bytes]) -> str:
    """What a refusal is written in, whatever the request's type."""
    return answer_type(headers.get(b"content-type", b"").decode("latin-1"))


def _content_type(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"content-type", b"")
    kind = TYPES.get(given)
    if kind is None:  # parameters (a charset) and capitals are allowed, and rare
        kind = TYPES.get(given.partition(b";")[0].strip().lower())
    if kind is None:
        name = given[:60].decode("latin-1")
        raise _Refusal(415, f"content-type {name!r}: expected {PROTOBUF} or {JSON}")
    return kind


def _length(headers: Mapping[bytes, bytes]) -> int | None:
    """The declared length; the parser has checked that it is a number."""
    given = headers.get(b"content-length")
    return None if given is None else int(given)


def _release(credit: Credit | None) -> None:
    if credit is not None:
        credit.release()
