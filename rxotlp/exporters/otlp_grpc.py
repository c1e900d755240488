"""`OtlpGrpc`: OTLP over gRPC, the element's bytes as they are.

Built on grpc's own channel with `.future()`, not on grpc.aio: the latter has one poller for
the process and is noisy when several event loops use it. For a request of 195 kB the two
cost about the same CPU (a ratio of 1.04 between medians of six alternating runs, less than
the spread of either). So a channel belongs to no loop, and one exporter serves any number
of them; see `channels` for certificates that change, and for forks.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import grpc
from reactivex import abc

from rxotlp._core import statuses
from rxotlp._core.outcomes import FILTERED, Cause, Outcome, failed, rejected
from rxotlp._core.text import masked
from rxotlp.certificates import Reloaded
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.exporters import replies
from rxotlp.exporters.base import Exporter
from rxotlp.exporters.channels import Channels
from rxotlp.exporters.credentials import GivenHeaders, HeaderFunction, basic, fresh, secrets_of
from rxotlp.exporters.quiet import untraced
from rxotlp.exporters.requests import too_large
from rxotlp.exporters.targets import Arguments, Endpoint, Target
from rxotlp.exporters.text import clean, user_agent
from rxotlp.wire.signals import Signal

__all__ = ["OtlpGrpc"]

logger = logging.getLogger("rxotlp")

_COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}

# An endpoint is a URL, and one without a port means its scheme's (RFC 9110, "http URI Scheme").
_PORTS = {"http": 80, "https": 443}

_OPTIONS: dict[str, int | str] = {
    # A channel of our own: without it exporters to one address share a connection, and
    # with it one another's head-of-line blocking and back-off.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.primary_user_agent": user_agent(),
    "grpc.max_receive_message_length": statuses.MAX_RESPONSE_BYTES,
    "grpc.max_send_message_length": -1,  # requests have a limit of our own
    "grpc.enable_retries": 0,  # retrying is ops.export's
    # Servers refuse pings that come more often than every five minutes by default; with
    # keep-alive on, unacknowledged data also ends a dead connection after the timeout.
    "grpc.keepalive_time_ms": 300_000,
    "grpc.keepalive_timeout_ms": 20_000,
    # While it backs off, a channel fails calls at once; the default of up to 120 s would
    # outlast many a backend's restart.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 5_000,
}

# gRPC's own ways to name a target ("gRPC Name Resolution").
_NAMES = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:")


@dataclass(frozen=True, slots=True)
class _Route:
    """One signal's target, prepared."""

    address: str
    destination: str
    credentials: Reloaded[grpc.ChannelCredentials] | None = field(repr=False)
    key: tuple[str | None, ...] = field(repr=False)  # of routes that may share a channel
    metadata: Mapping[str, str] = field(repr=False)
    function: HeaderFunction | None = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    compression: str
    timeout: float

    async def renewed(self) -> "_Route":
        """The same with the headers of now; ValueError or TimeoutError when there are none."""
        if self.function is None:
            return self
        async with asyncio.timeout(self.timeout):
            given = await fresh("OtlpGrpc", self.function)
        metadata = {**self.metadata, **_metadata(given)}
        return replace(self, metadata=metadata, secrets=(*self.secrets, *secrets_of(given)))


class OtlpGrpc(Exporter):
    """Sends each element as one call of the signal's OTLP service.

    Args:
        endpoint: `http://HOST:PORT` (plain), `https://HOST:PORT` (TLS), `HOST:PORT` or `unix:PATH`
            (TLS unless insecure=True), or one of them for each signal. None takes everything
            that is not given here from OTEL_EXPORTER_OTLP_*; with an endpoint the
            environment is not read.
        insecure: plain connections for endpoints without a scheme; a scheme decides itself.
        headers: sent as metadata; or a function, plain or async, that gives them anew for each
            attempt. Their values appear in no text of ours.
        bearer_token: for an Authorization header; `basic_auth` is the same of (user, password).
        compression: "none", "gzip" or "deflate".
        timeout: seconds for one attempt, connecting included.
        certificate: a file of certificates to trust instead of the system's.
        client_certificate: a file with our own certificate, and `client_key` with its key.
            Files are read again when they have changed.
        max_request_size: bytes before compression; what is larger is not sent, and
            `ops.export` splits it (C8). The default is what gRPC servers accept unless told
            otherwise.
        channel_options: gRPC's channel arguments, over ours.
        scheduler: see `Exporter`.

    Raises:
        ValueError: an argument or a variable that cannot be meant.
        OSError: a certificate file that cannot be read.
    """

    def __init__(
        self,
        endpoint: Endpoint = None,
        *,
        insecure: bool | None = None,
        headers: GivenHeaders | None = None,
        bearer_token: str | None = None,
        basic_auth: tuple[str, str] | None = None,
        compression: str | None = None,
        timeout: float | None = None,
        certificate: str | None = None,
        client_certificate: str | None = None,
        client_key: str | None = None,
        max_request_size: int = 4 * 1024 * 1024,
        channel_options: Mapping[str, int | str] | None = None,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        super().__init__(scheduler=scheduler)
        if max_request_size < 1:
            raise ValueError(f"OtlpGrpc(max_request_size={max_request_size}): expected 1 or more")
        arguments = Arguments(
            call="OtlpGrpc",
            endpoint=endpoint,
            headers=headers,
            compression=compression,
            timeout=timeout,
            protocol="grpc",
            insecure=insecure,
            certificate=certificate,
            client_certificate=client_certificate,
            client_key=client_key,
            compressions=tuple(_COMPRESSIONS),
            protocols=("grpc",),
            bearer_token=bearer_token,
            basic_auth=basic_auth,
        )
        arguments.check()
        self._limit = max_request_size
        self._routes: dict[Signal, _Route] = {}
        shared: dict[tuple[str | None, ...], Reloaded[grpc.ChannelCredentials]] = {}
        for signal in Signal:
            target = arguments.target(signal)
            if target is not None:
                self._routes[signal] = _route(target, shared)
        self.destination = ", ".join(
            dict.fromkeys(route.destination for route in self._routes.values())
        )
        options: dict[str, int | str] = {**_OPTIONS, **(channel_options or {})}
        self._channels = Channels(list(options.items()))

    async def export(self, data: TelemetryData) -> Outcome:
        """Make one attempt, which is one call."""
        route = self._routes.get(data.signal)
        if route is None:
            return rejected(f"OtlpGrpc: the endpoints name none for {data.signal.value}")
        try:
            if not data.items:
                return FILTERED  # C14: there is nothing to send
            body = data.to_bytes()
        except DecodeError as error:  # bytes that nobody looked at before
            reason = f"{route.destination}: not sent: {clean(str(error))}"
            return rejected(reason, cause=Cause.BAD_DATA)
        if len(body) > self._limit:
            return too_large(route.destination, data, len(body), self._limit)
        try:
            route = await route.renewed()
        except (ValueError, TimeoutError) as error:
            why = str(error) or "the function of headers took too long"
            return failed(f"{route.destination}: not sent: {why}")
        return await self._call(route, body, data)

    def close(self) -> None:
        """Close the channels; calls under way come back as failed."""
        super().close()
        self._channels.close()

    async def _call(self, route: _Route, body: bytes, data: TelemetryData) -> Outcome:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        line = self._channels.take(
            route.key, route.address, _COMPRESSIONS[route.compression], route.credentials
        )
        try:
            try:
                with untraced():
                    call = line.method(data.signal.names.grpc_method).future(
                        body, timeout=route.timeout, metadata=tuple(route.metadata.items())
                    )
            except ValueError:  # its text may repeat the metadata
                return failed(f"{route.destination}: not sent: the channel is closed")
            call.add_done_callback(_waker(loop, answer))
            try:
                await answer
            except asyncio.CancelledError:
                call.cancel()  # type: ignore[no-untyped-call]
                raise
        finally:
            self._channels.give_back(line)
        code = call.code()
        if code is grpc.StatusCode.OK:
            return replies.taken(
                route.destination, data, call.result(), statuses.PROTOBUF, route.secrets
            )
        return _refused(route, code, call)


def _route(
    target: Target, shared: dict[tuple[str | None, ...], Reloaded[grpc.ChannelCredentials]]
) -> _Route:
    address, secure, user = _address(target)
    credentials: Reloaded[grpc.ChannelCredentials] | None = None
    if secure:
        credentials = shared.get(target.files)
        if credentials is None:
            credentials = shared[target.files] = Reloaded(
                f"OtlpGrpc to {address}", target.files, lambda: _credentials(target)
            )
    headers = dict(target.headers)
    if user is not None and "authorization" not in map(str.lower, headers):
        headers["authorization"] = user
    return _Route(
        address=address,
        destination=address,
        credentials=credentials,
        key=(address, target.compression, *(target.files if secure else ())),
        metadata=_metadata(headers),
        function=target.function,
        secrets=secrets_of(headers),
        compression=target.compression,
        timeout=target.timeout,
    )


def _metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as gRPC takes them.

    Raises:
        ValueError: gRPC would refuse one, and show it.
    """
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"OtlpGrpc(headers[{name!r}]): expected ASCII that prints")
        if name.lower().endswith("-bin"):
            raise ValueError(f"OtlpGrpc(headers[{name!r}]): expected no binary metadata")
    return {name.lower(): value for name, value in headers.items()}


def _address(target: Target) -> tuple[str, bool, str | None]:
    """What gRPC is to connect to, whether over TLS, and the URL's user as a header."""
    url = target.url
    scheme, found, _ = url.partition("://")
    named = url.startswith(_NAMES)
    if named or not found:
        if "@" in url:
            raise ValueError(
                "OtlpGrpc(endpoint): expected no user without a scheme; see basic_auth"
            )
        host, _, port = url.rpartition(":")
        if not named and not (host and port.isdecimal()):
            raise ValueError(f"OtlpGrpc(endpoint): {url!r}: expected [http[s]://]HOST:PORT")
        return url, not target.insecure, None
    try:
        parts = urlsplit(url)
        port_number = parts.port
    except ValueError:  # its text may repeat what it could not read
        raise ValueError(
            f"OtlpGrpc(endpoint): {masked(url)!r}: expected [http[s]://]HOST:PORT"
        ) from None
    if scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"OtlpGrpc(endpoint): scheme {scheme!r}: expected http or https")
    if parts.path.strip("/"):
        raise ValueError(
            f"OtlpGrpc(endpoint): the path {parts.path!r}: expected none; a path is OTLP/HTTP's"
        )
    user: str | None = None
    if parts.username is not None:
        user = basic(unquote(parts.username), unquote(parts.password or ""))
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port_number or _PORTS[scheme]}", scheme == "https", user


def _credentials(target: Target) -> grpc.ChannelCredentials:
    target.context()  # gRPC itself would say only at the first call that a key does not fit
    return grpc.ssl_channel_credentials(
        _bytes(target.certificate), _bytes(target.client_key), _bytes(target.client_certificate)
    )


def _bytes(path: str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


def _waker(
    loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[None]"
) -> Callable[[object], None]:
    """A callback for gRPC's thread that wakes whoever awaits `answer`."""

    def wake() -> None:
        if not answer.done():
            answer.set_result(None)

    def done(_call: object) -> None:
        try:
            loop.call_soon_threadsafe(wake)
        except RuntimeError:  # the loop ended first, and with it whoever awaited
            logger.debug("a gRPC call ended after its event loop")

    return done


def _refused(route: _Route, code: grpc.StatusCode, call: grpc.Call) -> Outcome:
    """The outcome of a call that did not end with OK."""
    wait: float | None = None
    for key, value in call.trailing_metadata() or ():
        if key == statuses.DETAILS_KEY and isinstance(value, bytes):
            try:
                wait = statuses.retry_delay(statuses.decode_status(value, statuses.PROTOBUF))
            except DecodeError:
                logger.debug("%s sent unreadable error details", route.destination)
    number: int = code.value[0]
    details = call.details() or ""
    cause = Cause.OTHER
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        cause = Cause.BAD_DATA
    elif statuses.grpc_too_large(number, details):
        cause = Cause.TOO_LARGE
    return replies.refused(
        route.destination,
        code.name,
        details,
        retryable=statuses.grpc_retryable(number, wait),
        retry_after=wait,
        cause=cause,
        secrets=route.secrets,
    )
