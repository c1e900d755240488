"""Where each signal goes and how: an exporter's arguments, or the environment.

With `endpoint=None` the OTEL_EXPORTER_OTLP_* variables decide, and arguments override them
one by one. With an endpoint the environment is not read at all: its headers may hold a
credential, which is for the destination it was set up for and for no other.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from rxotlp._core import environment
from rxotlp.wire.signals import Signal

__all__ = ["Arguments", "Endpoint", "Target"]

DEFAULT_TIMEOUT = 10.0  # seconds; OTLP exporter specification, "Timeout"

Endpoint = str | Mapping[Signal, str] | None

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, "Tokens"


@dataclass(frozen=True, slots=True)
class Target:
    """One signal's destination. Its repr shows no header and no URL, which may hold a credential.

    Attributes:
        url: complete when `complete`, else a base that paths are added to.
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

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no text may show: header values, and the credential behind a scheme."""
        values = [value.strip() for value in self.headers.values()]
        return tuple(values + [value.split(" ", 1)[1] for value in values if " " in value])

    def ssl_context(self) -> ssl.SSLContext:
        """TLS as the certificates say.

        Raises:
            OSError: a file that cannot be read or holds no certificate, named.
        """
        try:
            context = ssl.create_default_context(cafile=self.certificate)
            if self.client_certificate is not None:
                context.load_cert_chain(self.client_certificate, self.client_key)
        except OSError as error:  # ssl.SSLError is one
            files = [self.certificate, self.client_certificate, self.client_key]
            named = ", ".join(name for name in files if name is not None)
            raise OSError(f"TLS: cannot use {named}: {error}") from error
        return context


@dataclass(frozen=True, slots=True)
class Arguments:
    """What an exporter was told; None leaves it to the environment or the default."""

    call: str  # the exporter's name, for errors
    endpoint: Endpoint
    headers: Mapping[str, str] | None = field(repr=False)
    compression: str | None
    timeout: float | None
    protocol: str | None
    insecure: bool | None
    certificate: str | None
    client_certificate: str | None
    client_key: str | None
    compressions: tuple[str, ...]  # what the transport knows, "none" first
    protocols: tuple[str, ...]  # the same; the first is the default

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
        for name, value in (self.headers or {}).items():
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"{call}(headers): {name!r} is no header name")
            if any(letter in value for letter in "\r\n\0"):
                raise ValueError(f"{call}(headers[{name!r}]): a value may hold no line break")

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
                headers=dict(self.headers or {}),
                compression=self.compression or "none",
                timeout=self.timeout if self.timeout is not None else DEFAULT_TIMEOUT,
                protocol=self.protocol or self.protocols[0],
                insecure=self.insecure,
                certificate=self.certificate,
                client_certificate=self.client_certificate,
                client_key=self.client_key,
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
            headers=dict(found.headers if self.headers is None else self.headers),
            compression=compression,
            timeout=found.timeout if self.timeout is None else self.timeout,
            protocol=found.protocol,
            insecure=found.insecure if self.insecure is None else self.insecure,
            certificate=self.certificate or found.certificate,
            client_certificate=self.client_certificate or found.client_certificate,
            client_key=self.client_key or found.client_key,
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
