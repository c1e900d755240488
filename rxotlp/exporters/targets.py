"""Where each signal goes and how: an exporter's arguments, or the environment.

With `endpoint=None` the OTEL_EXPORTER_OTLP_* variables decide, and arguments override them
one by one. With an endpoint the environment is not read at all: its headers may hold a
credential, which is for the destination it was set up for and for no other.
"""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from rxotlp._core import environment
from rxotlp.certificates import Reloaded, no_password
from rxotlp.exporters.credentials import (
    GivenHeaders,
    HeaderFunction,
    basic,
    check_headers,
)
from rxotlp.wire.signals import Signal

__all__ = ["Arguments", "Endpoint", "Target"]

DEFAULT_TIMEOUT = 10.0  # seconds; OTLP exporter specification, "Timeout"

Endpoint = str | Mapping[Signal, str] | None

AUTHORIZATION = "Authorization"


@dataclass(frozen=True, slots=True)
class Target:
    """One signal's destination. Its repr shows no header and no URL, which may hold a credential.

    Attributes:
        url: complete when `complete`, else a base that paths are added to.
        headers: sent with each request, and under those of `function`.
        function: gives headers anew for each attempt; None when they never change.
        compression: "none" or an encoding's name.
        timeout: seconds for one attempt.
        insecure: for gRPC endpoints without a scheme; None when nobody said.
    """

    url: str = field(repr=False)
    complete: bool
    headers: Mapping[str, str] = field(repr=False)
    compression: str
    timeout: float
    protocol: str
    insecure: bool | None
    certificate: str | None
    client_certificate: str | None
    client_key: str | None
    function: HeaderFunction | None = field(default=None, repr=False)

    @property
    def files(self) -> tuple[str | None, ...]:
        """The certificate files, which may change."""
        return (self.certificate, self.client_certificate, self.client_key)

    def tls(self, what: str) -> Reloaded[ssl.SSLContext]:
        """TLS as the certificates say now, and when they have changed.

        Raises:
            OSError: a file that cannot be read or holds no certificate, named.
        """
        return Reloaded(what, self.files, self.context)

    def context(self) -> ssl.SSLContext:
        """TLS as the certificates say now; OSError when they cannot be used together."""
        context = ssl.create_default_context(cafile=self.certificate)
        if self.client_certificate is not None:
            context.load_cert_chain(self.client_certificate, self.client_key, no_password)
        return context


@dataclass(frozen=True, slots=True)
class Arguments:
    """What an exporter was told; None leaves it to the environment or the default."""

    call: str  # the exporter's name, for errors
    endpoint: Endpoint
    headers: GivenHeaders | None = field(repr=False)
    compression: str | None
    timeout: float | None
    protocol: str | None
    insecure: bool | None
    certificate: str | None
    client_certificate: str | None
    client_key: str | None
    compressions: tuple[str, ...]  # what the transport knows, "none" first
    protocols: tuple[str, ...]  # the same; the first is the default
    bearer_token: str | None = field(default=None, repr=False)
    basic_auth: tuple[str, str] | None = field(default=None, repr=False)

    def check(self) -> None:
        """Raise ValueError or TypeError for what cannot be meant."""
        call = self.call
        if self.compression is not None and self.compression not in self.compressions:
            expected = ", ".join(self.compressions)
            raise ValueError(f"{call}(compression={self.compression!r}): expected {expected}")
        if self.protocol is not None and self.protocol not in self.protocols:
            expected = ", ".join(self.protocols)
            raise ValueError(f"{call}(protocol={self.protocol!r}): expected {expected}")
        if self.timeout is not None and not 0 < self.timeout < float("inf"):
            raise ValueError(f"{call}(timeout={self.timeout}): expected seconds above 0")
        if self.client_key is not None and self.client_certificate is None:
            raise ValueError(f"{call}(client_key=…): expected a client_certificate with it")
        if self.headers is not None and not callable(self.headers):
            check_headers(call, self.headers)
        self._check_authorization()

    def _check_authorization(self) -> None:
        call, token, pair = self.call, self.bearer_token, self.basic_auth
        if token is not None and pair is not None:
            raise ValueError(f"{call}(bearer_token=…, basic_auth=…): expected one of them")
        if token is not None and not isinstance(token, str):
            raise TypeError(f"{call}(bearer_token=…): expected a text; see headers for a function")
        if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
            raise ValueError(f"{call}(bearer_token=…): expected visible ASCII")
        if pair is not None:
            if not (
                isinstance(pair, tuple)
                and len(pair) == 2
                and all(isinstance(part, str) for part in pair)
            ):
                raise TypeError(f"{call}(basic_auth=…): expected (user, password)")
            if ":" in pair[0]:
                raise ValueError(f"{call}(basic_auth=…): expected a user without a colon")
        if isinstance(self.headers, Mapping) and (token is not None or pair is not None):
            for name in self.headers:
                if name.lower() == "authorization":
                    other = "bearer_token" if pair is None else "basic_auth"
                    raise ValueError(f"{call}(headers[{name!r}]): expected none beside {other}")

    @property
    def _authorization(self) -> str | None:
        if self.bearer_token is not None:
            return f"Bearer {self.bearer_token}"
        return None if self.basic_auth is None else basic(*self.basic_auth)

    def _headers(self, found: Mapping[str, str]) -> dict[str, str]:
        """What is sent with each request; `found` is the environment's."""
        given = found if self.headers is None else {} if callable(self.headers) else self.headers
        headers = dict(given)
        if self._authorization is not None:
            headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
            headers[AUTHORIZATION] = self._authorization
        return headers

    def target(self, signal: Signal) -> Target | None:
        """Where `signal` goes; None when an endpoint mapping does not name it."""
        if self.endpoint is not None:
            given = self.endpoint
            url = given if isinstance(given, str) else given.get(signal)
            if url is None:
                return None
            return Target(
                url=url,
                complete=not isinstance(given, str),
                headers=self._headers({}),
                compression=self.compression or "none",
                timeout=self.timeout if self.timeout is not None else DEFAULT_TIMEOUT,
                protocol=self.protocol or self.protocols[0],
                insecure=self.insecure,
                certificate=self.certificate,
                client_certificate=self.client_certificate,
                client_key=self.client_key,
                function=self.headers if callable(self.headers) else None,
            )
        found = self._from_environment(signal)
        compression = self.compression or found.compression.replace("identity", "none")
        if compression not in self.compressions:
            raise ValueError(
                f"{self.call}: OTEL_EXPORTER_OTLP_COMPRESSION={compression!r} for "
                f"{signal.value}: expected {', '.join(self.compressions)}"
            )
        return Target(
            url=found.endpoint,
            complete=True,
            headers=self._headers(found.headers),
            compression=compression,
            timeout=found.timeout if self.timeout is None else self.timeout,
            protocol=found.protocol,
            insecure=found.insecure if self.insecure is None else self.insecure,
            certificate=self.certificate or found.certificate,
            client_certificate=self.client_certificate or found.client_certificate,
            client_key=self.client_key or found.client_key,
            function=self.headers if callable(self.headers) else None,
        )

    def _from_environment(self, signal: Signal) -> environment.OtlpSettings:
        """The variables for `signal`; who chose the exporter has chosen the transport."""
        default = self.protocol or self.protocols[0]
        if self.protocol is None:
            found = environment.settings(signal, default, os.environ)
            if found.protocol in self.protocols:
                return found
        others = {
            name: value for name, value in os.environ.items() if not name.endswith("_PROTOCOL")
        }
        return environment.settings(signal, default, others)
