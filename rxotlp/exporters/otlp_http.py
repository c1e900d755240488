"""`OtlpHttp`: OTLP over HTTP/1.1, as protobuf or JSON.

One attempt is one request on a pooled connection: the element's own bytes, written at once
and, where they are many, without being copied into one.
Redirects are not followed (a header could be sent where nobody meant it to go), cookies
are not kept, proxies are not looked for. What the status means is decided in
`_core.statuses`; here is only the talking.
"""

import asyncio
import ssl
import time
from dataclasses import dataclass, field, replace
from typing import Literal

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload, Payload
from multidict import CIMultiDict
from reactivex import abc
from yarl import URL

from rxotlp._core import statuses
from rxotlp._core.outcomes import FILTERED, Cause, Kind, Outcome, failed, rejected
from rxotlp._core.text import masked
from rxotlp.certificates import Reloaded
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError, RefusedError
from rxotlp.exporters import replies
from rxotlp.exporters.base import Exporter
from rxotlp.exporters.credentials import GivenHeaders, HeaderFunction, basic, fresh, secrets_of
from rxotlp.exporters.quiet import untraced
from rxotlp.exporters.requests import Bodies, too_large
from rxotlp.exporters.sessions import Connector, Sessions
from rxotlp.exporters.targets import Arguments, Endpoint, Target
from rxotlp.exporters.text import clean, user_agent
from rxotlp.wire.compression import ENCODINGS, UnknownEncodingError, compress, decompress
from rxotlp.wire.signals import Signal

__all__ = ["OtlpHttp"]

_CONTENT_TYPES = {"http/protobuf": statuses.PROTOBUF, "http/json": statuses.JSON}
_LARGEST_RESPONSE = statuses.MAX_RESPONSE_BYTES

# RFC 9110, "400 Bad Request" and "413 Content Too Large".
_CAUSES = {400: Cause.BAD_DATA, 413: Cause.TOO_LARGE}

# Above this, compressing takes longer than handing over to a thread and back.
_COMPRESS_INLINE = 256 * 1024
# Below this, copying a piece of a body is quicker than writing it by itself.
_PIECE = 64 * 1024

_Pieces = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Route:
    """One signal's target, with everything prepared that is the same for each request."""

    url: URL = field(repr=False)  # its query may hold a key
    destination: str
    headers: CIMultiDict[str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    content_type: str
    encoding: str
    timeout: aiohttp.ClientTimeout
    tls: Reloaded[ssl.SSLContext] | None = field(repr=False)
    function: HeaderFunction | None = field(repr=False)

    async def renewed(self) -> "_Route":
        """The same with the headers of now; ValueError or TimeoutError when there are none."""
        if self.function is None:
            return self
        async with asyncio.timeout(self.timeout.total):
            given = await fresh("OtlpHttp", self.function)
        headers = self.headers.copy()
        headers.update(given)
        for name in ("Content-Type", "Content-Encoding"):  # not theirs to say
            headers.pop(name, None)
            if name in self.headers:
                headers[name] = self.headers[name]
        return replace(self, headers=headers, secrets=(*self.secrets, *secrets_of(given)))


class OtlpHttp(Exporter):
    """Sends each element as one OTLP/HTTP request.

    Args:
        endpoint: a base URL (`v1/traces` and so on are added), or a complete URL for each
            signal. None takes everything that is not given here from OTEL_EXPORTER_OTLP_*;
            with an endpoint the environment is not read.
        headers: sent with each request; or a function, plain or async, that gives them anew
            for each attempt. Their values appear in no text of ours.
        bearer_token: for an Authorization header; `basic_auth` is the same of (user, password).
        compression: "none", "gzip", "deflate" or, where the library is, "zstd".
        timeout: seconds for one attempt, connecting included.
        certificate: a file of certificates to trust instead of the system's.
        client_certificate: a file with our own certificate, and `client_key` with its key.
            Files are read again when they have changed.
        protocol: "http/protobuf" or "http/json".
        max_request_size: bytes before compression; what is larger is not sent, and
            `ops.export` splits it (C8).
        max_connections: open at most, 1 or more; further requests wait for one.
        scheduler: see `Exporter`.

    Raises:
        ValueError: an argument or a variable that cannot be meant.
        OSError: a certificate file that cannot be used.
    """

    def __init__(
        self,
        endpoint: Endpoint = None,
        *,
        headers: GivenHeaders | None = None,
        bearer_token: str | None = None,
        basic_auth: tuple[str, str] | None = None,
        compression: str | None = None,
        timeout: float | None = None,
        certificate: str | None = None,
        client_certificate: str | None = None,
        client_key: str | None = None,
        protocol: Literal["http/protobuf", "http/json"] | None = None,
        max_request_size: int = 64 * 1024 * 1024,
        max_connections: int = 64,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        super().__init__(scheduler=scheduler)
        for name, value in (
            ("max_request_size", max_request_size),
            ("max_connections", max_connections),
        ):
            if value < 1:
                raise ValueError(f"OtlpHttp({name}={value}): expected 1 or more")
        arguments = Arguments(
            call="OtlpHttp",
            endpoint=endpoint,
            headers=headers,
            compression=compression,
            timeout=timeout,
            protocol=protocol,
            insecure=None,
            certificate=certificate,
            client_certificate=client_certificate,
            client_key=client_key,
            compressions=("none", *(name for name in ENCODINGS if name != "identity")),
            protocols=tuple(_CONTENT_TYPES),
            bearer_token=bearer_token,
            basic_auth=basic_auth,
        )
        arguments.check()
        self._limit = max_request_size
        self._max_connections = max_connections
        self._routes: dict[Signal, _Route] = {}
        shared: dict[tuple[str | None, ...], Reloaded[ssl.SSLContext]] = {}
        for signal in Signal:
            target = arguments.target(signal)
            if target is not None:
                self._routes[signal] = _route(signal, target, shared)
        self.destination = ", ".join(
            dict.fromkeys(_address(route.url) for route in self._routes.values())
        )
        self._bodies = Bodies()
        self._sessions = Sessions(self._open_session)

    async def export(self, data: TelemetryData) -> Outcome:
        """Make one attempt, which is one request."""
        route = self._routes.get(data.signal)
        if route is None:
            return rejected(f"OtlpHttp: the endpoints name none for {data.signal.value}")
        kept = self._bodies.get(data)
        if kept is None:
            try:
                if not data.items:
                    return FILTERED  # C14: there is nothing to send
                body = _encoded(route, data)
            except DecodeError as error:  # bytes that nobody looked at before
                reason = f"{route.destination}: not sent: {clean(str(error))}"
                return rejected(reason, cause=Cause.BAD_DATA)
            size = sum(map(len, body))
            if size > self._limit:
                return too_large(route.destination, data, size, self._limit)
            if route.encoding != "none":
                body = (await _compressed(route.encoding, body[0]),)
        else:
            body = (kept,)
        try:
            route = await route.renewed()
        except (ValueError, TimeoutError) as error:
            why = str(error) or "the function of headers took too long"
            outcome = failed(f"{route.destination}: not sent: {why}")
        else:
            with untraced():
                outcome = await self._post(route, body, data)
        if outcome.kind is Kind.FAILED and len(body) == 1:
            self._bodies.keep(data, body[0])
        return outcome

    def close(self) -> None:
        """Close connections; requests under way come back as failed.

        Call it before the event loops that exports ran on end: afterwards nobody is left to
        close their connections cleanly, and Python warns of each.
        """
        super().close()
        self._sessions.close()

    async def aclose(self) -> None:
        """`close`, waiting for the connections of the running loop."""
        super().close()
        await self._sessions.aclose()

    def _open_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=Connector(limit=self._max_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding"),
        )

    async def _post(self, route: _Route, body: _Pieces, data: TelemetryData) -> Outcome:
        try:
            async with self._sessions.current().post(
                route.url,
                data=_Body(body, route.content_type),
                headers=route.headers,
                timeout=route.timeout,
                ssl=True if route.tls is None else route.tls.get(),
                allow_redirects=False,
            ) as response:
                return await _outcome(route, response, data)
        except TimeoutError:
            return failed(f"{route.destination} did not answer within {route.timeout.total:g} s")
        except aiohttp.ClientConnectorError as error:
            why = clean(str(error.os_error) or type(error.os_error).__name__)
            return failed(f"{route.destination}: cannot connect: {why}")
        except aiohttp.ServerDisconnectedError:  # its text may be half a response, as a repr
            return failed(f"{route.destination}: the connection broke: the server closed it")
        except (aiohttp.ClientError, OSError) as error:
            why = clean(str(error) or type(error).__name__, secrets=route.secrets)
            return failed(f"{route.destination}: the connection broke: {why}")


class _Body(BytesPayload):
    """Bytes to be written as they are; aiohttp's own warns of large ones, and copies them."""

    def __init__(self, body: _Pieces, content_type: str) -> None:
        Payload.__init__(self, body, content_type=content_type)
        self._pieces = body
        self._size = size = sum(map(len, body))
        self._large = size >= _PIECE

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        if self._large:
            writer.send_headers()  # else they would be joined with what follows
        for piece in self._pieces:
            await writer.write(piece)


def _route(
    signal: Signal,
    target: Target,
    shared: dict[tuple[str | None, ...], Reloaded[ssl.SSLContext]],
) -> _Route:
    url = _url(signal, target.url)
    if not target.complete:
        url = url.with_path(url.path.rstrip("/") + signal.names.http_path, keep_query=True)
    content_type = _CONTENT_TYPES[target.protocol]
    headers = CIMultiDict({"User-Agent": user_agent()})
    headers.update(target.headers)
    headers["Content-Type"] = content_type
    if target.compression != "none":
        headers["Content-Encoding"] = target.compression
    if url.user is not None:
        # aiohttp would do it, but refuses when there is an Authorization header as well.
        headers.setdefault("Authorization", basic(url.user, url.password or ""))
    told = {**target.headers, "": headers.get("Authorization", "")}
    secrets = (*secrets_of(told), *url.query.values(), url.password or "")
    url = url.with_user(None)
    tls: Reloaded[ssl.SSLContext] | None = None
    if url.scheme == "https":
        tls = shared.get(target.files)
        if tls is None:
            tls = shared[target.files] = target.tls(f"OtlpHttp to {_address(url)}")
    return _Route(
        url=url,
        destination=f"{_address(url)}{url.path}",
        headers=headers,
        secrets=secrets,
        content_type=content_type,
        encoding=target.compression,
        timeout=aiohttp.ClientTimeout(total=target.timeout),
        tls=tls,
        function=target.function,
    )


def _url(signal: Signal, given: str) -> URL:
    try:
        url = URL(given)
        good = url.scheme in ("http", "https") and url.host
    except ValueError:  # its text may repeat what it could not read
        good = None
    if not good:
        raise ValueError(
            f"OtlpHttp(endpoint): {masked(given)!r} for {signal.value}: expected "
            "http://HOST[:PORT] or https://HOST[:PORT]"
        )
    return url


def _address(url: URL) -> str:
    return f"{url.host_subcomponent}:{url.port}"


def _encoded(route: _Route, data: TelemetryData) -> _Pieces:
    """What is to be sent, before compression: in one piece, or in several large ones."""
    if route.content_type == statuses.JSON:
        return (data.to_json().encode(),)
    if route.encoding == "none":
        pieces = data._pieces()
        if data.size >= len(pieces) * _PIECE:
            return pieces
    return (data.to_bytes(),)


async def _compressed(encoding: str, body: bytes) -> bytes:
    if len(body) < _COMPRESS_INLINE:
        return compress(encoding, body)
    return await asyncio.get_running_loop().run_in_executor(None, compress, encoding, body)


class _TooLong(Exception):
    """The response is over the limit."""


async def _outcome(route: _Route, response: aiohttp.ClientResponse, data: TelemetryData) -> Outcome:
    """What an answer means for `data`."""
    status = response.status
    unreadable = ""
    try:
        body = await _read(response)
    except _TooLong:
        response.close()
        return rejected(
            f"{route.destination} answered {status} with more than {_LARGEST_RESPONSE} bytes; "
            "not read"
        )
    except (DecodeError, UnknownEncodingError) as error:
        body, unreadable = b"", clean(str(error))  # its status says what it is
    content_type = response.headers.get("Content-Type", route.content_type)
    if 200 <= status < 300:
        if unreadable:
            return replies.taken_unreadably(route.destination, unreadable)
        return replies.taken(route.destination, data, body, content_type, route.secrets)
    message, wait = replies.refused_message(body, content_type)
    header = response.headers.get("Retry-After")
    if header is not None:
        # A date is by the server's clock, and its Date says what that is: ours may differ.
        now = statuses.parse_date(response.headers.get("Date", ""))
        asked = statuses.parse_retry_after(header, time.time() if now is None else now)
        wait = wait if asked is None else asked
    return replies.refused(
        route.destination,
        str(status),
        message or unreadable,
        retryable=statuses.http_retryable(status),
        retry_after=wait,
        cause=_CAUSES.get(status, Cause.OTHER),
        secrets=route.secrets,
    )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, decompressed, as long as it stays within the limit."""
    if (response.content_length or 0) > _LARGEST_RESPONSE:
        raise _TooLong
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > _LARGEST_RESPONSE:
            raise _TooLong
        chunks.append(chunk)
    body = b"".join(chunks)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if body and encoding != "identity":
        try:
            body = decompress(encoding, body, _LARGEST_RESPONSE)
        except RefusedError as error:
            raise _TooLong from error
    return body
