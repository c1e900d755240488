"""The OTEL_EXPORTER_OTLP_* variables, read once and checked.

    OTEL_EXPORTER_OTLP_[TRACES_|METRICS_|LOGS_]ENDPOINT, INSECURE, CERTIFICATE, CLIENT_KEY,
    CLIENT_CERTIFICATE, HEADERS, COMPRESSION, TIMEOUT, PROTOCOL

(OpenTelemetry specification, "OpenTelemetry Protocol Exporter".) The signal's own variable
wins over the general one, whole: headers are not merged. An empty variable is an unset
one. Profiles have no variables of their own yet and follow the general ones.

TIMEOUT is in **milliseconds**: the specification says so for every duration in the
environment ("Environment Variable Specification", Duration), and its default is 10000.
opentelemetry-python reads seconds (its issues 4044 and 5531), so a value written for it,
10 say, gives up after 10 ms here; that shows at the first export, while 10000 read as
seconds would hang for hours before anybody noticed.

A general ENDPOINT is a base to which `v1/traces` and so on are added, for HTTP; a signal's
own stands as it is, "/" where it has no path. gRPC takes no path, and may leave out the
scheme; then INSECURE decides, as it never does against a scheme.

A value that cannot be used is a ValueError that names the variable, as a gateway that
starts with half of what was meant loses data later. Values of headers, and what stands
beside the host in a URL, are secrets: they are in no message and no repr.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from rxotlp._core.text import masked
from rxotlp.wire.compression import ENCODINGS
from rxotlp.wire.signals import Signal

__all__ = ["GRPC", "HTTP_JSON", "HTTP_PROTOBUF", "OtlpSettings", "settings"]

GRPC = "grpc"
HTTP_PROTOBUF = "http/protobuf"
HTTP_JSON = "http/json"

_PROTOCOLS = (GRPC, HTTP_PROTOBUF, HTTP_JSON)
_DEFAULT_TIMEOUT = 10.0  # seconds; the specification's default
_OWN_VARIABLES = (Signal.TRACES, Signal.METRICS, Signal.LOGS)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110, token
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """Where and how to send one signal.

    Attributes:
        endpoint: for HTTP the whole URL to post to, for gRPC the target as given.
        insecure: no TLS. The endpoint's scheme decides; INSECURE where it has none.
        certificate: path of the certificates to trust (PEM); None for the system's.
        client_key: path of the client's private key (PEM).
        client_certificate: path of the client's certificate (PEM).
        headers: name (in lower case) to value.
        compression: one of `wire.compression.ENCODINGS`; "identity" for none.
        timeout: seconds for one export.
        protocol: "grpc", "http/protobuf" or "http/json".
    """

    endpoint: str = field(repr=False)
    insecure: bool
    certificate: str | None
    client_key: str | None
    client_certificate: str | None
    headers: Mapping[str, str] = field(repr=False)
    compression: str
    timeout: float
    protocol: str


def settings(signal: Signal, protocol_default: str, environ: Mapping[str, str]) -> OtlpSettings:
    """Read the settings for one signal.

    Args:
        signal: what will be sent.
        protocol_default: used where PROTOCOL is not set: "grpc", "http/protobuf" or
            "http/json".
        environ: `os.environ`, or what a test likes.

    Raises:
        ValueError: a variable's value cannot be used; the message names the variable.
    """
    if protocol_default not in _PROTOCOLS:
        raise ValueError(
            f"settings(protocol_default={protocol_default!r}): expected one of "
            f"{', '.join(_PROTOCOLS)}"
        )
    read = _Reader(signal, environ)
    protocol = read.protocol(protocol_default)
    endpoint, insecure = read.endpoint(protocol)
    return OtlpSettings(
        endpoint=endpoint,
        insecure=insecure,
        certificate=read.text("CERTIFICATE"),
        client_key=read.text("CLIENT_KEY"),
        client_certificate=read.text("CLIENT_CERTIFICATE"),
        headers=read.headers(),
        compression=read.compression(),
        timeout=read.timeout(),
        protocol=protocol,
    )


class _Reader:
    """The variables as one signal sees them."""

    __slots__ = ("_environ", "_signal")

    def __init__(self, signal: Signal, environ: Mapping[str, str]) -> None:
        self._signal = signal
        self._environ = environ

    def find(self, name: str) -> tuple[str, str, bool]:
        """A variable's full name, its value or "", and whether it is the signal's own."""
        general = f"OTEL_EXPORTER_OTLP_{name}"
        if self._signal in _OWN_VARIABLES:
            own = f"OTEL_EXPORTER_OTLP_{self._signal.name}_{name}"
            value = self._environ.get(own, "").strip()
            if value:
                return own, value, True
        return general, self._environ.get(general, "").strip(), False

    def text(self, name: str) -> str | None:
        return self.find(name)[1] or None

    def protocol(self, default: str) -> str:
        variable, value, _ = self.find("PROTOCOL")
        if value and value not in _PROTOCOLS:
            raise _bad(variable, value, f"expected one of {', '.join(_PROTOCOLS)}")
        return value or default

    def endpoint(self, protocol: str) -> tuple[str, bool]:
        variable, value, own = self.find("ENDPOINT")
        insecure = self._insecure()
        if not value:
            # OTLP specification: the default ports of OTLP/gRPC and OTLP/HTTP
            value = f"http://localhost:{4317 if protocol == GRPC else 4318}"
        if protocol == GRPC and not value.lower().startswith(("http://", "https://")):
            return value, insecure  # any form that gRPC knows: host:port, unix:path, dns:///...
        url = _url(variable, value)
        if protocol != GRPC:
            path = (url.path or "/") if own else url.path.rstrip("/") + self._signal.names.http_path
            value = urlunsplit(url._replace(path=path))
        return value, url.scheme == "http"

    def _insecure(self) -> bool:
        variable, value, _ = self.find("INSECURE")
        if value.lower() not in ("", "true", "false"):
            raise _bad(variable, value, "expected true or false")
        return value.lower() == "true"

    def headers(self) -> dict[str, str]:
        variable, value, _ = self.find("HEADERS")
        headers: dict[str, str] = {}
        for number, member in enumerate(value.split(","), 1):
            if not member.strip():
                continue  # a trailing comma
            name, equals, text = member.partition("=")
            name = unquote(name.strip())
            if not equals or not _HEADER_NAME.fullmatch(name):
                # Neither name nor value: what stands in the wrong place may be the secret.
                raise ValueError(
                    f"{variable}: entry {number}: expected name=value,name=value with values "
                    "percent-encoded"
                )
            text = unquote(text.strip(), errors="replace")
            if _CONTROL.search(text):
                raise ValueError(
                    f"{variable}: value of {name!r} (entry {number}): expected no control "
                    "characters; they would end the header"
                )
            headers[name.lower()] = text
        return headers

    def compression(self) -> str:
        variable, value, _ = self.find("COMPRESSION")
        if value in ("", "none"):
            return "identity"
        if value not in ENCODINGS:
            known = ", ".join(name for name in ENCODINGS if name != "identity")
            raise _bad(variable, value, f"expected none or one of {known}")
        return value

    def timeout(self) -> float:
        variable, value, _ = self.find("TIMEOUT")
        if not value:
            return _DEFAULT_TIMEOUT
        try:
            milliseconds = float(value)
        except ValueError:
            milliseconds = math.nan
        if not 0 < milliseconds < math.inf:
            raise _bad(variable, value, "expected milliseconds, more than 0")
        return milliseconds / 1000


def _url(variable: str, value: str) -> SplitResult:
    expected = "expected a URL such as http://localhost:4318 or https://example.org"
    try:
        url = urlsplit(value)
        port_is_good = url.port != 0
    except ValueError:  # a port that is no number, a broken IPv6 address
        raise _bad(variable, masked(value), expected) from None
    good = url.scheme in ("http", "https") and url.hostname and port_is_good
    if not good or re.search(r"\s", value):
        raise _bad(variable, masked(value), expected)
    return url


def _bad(variable: str, value: str, expected: str) -> ValueError:
    return ValueError(f"{variable}={value!r}: {expected}")
