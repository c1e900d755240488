"""Who may send, and over what: TLS for receivers, and authenticators.

    sources.otlp(
        tls=Tls("server.pem", "server.key", client_ca="clients.pem"),
        authenticator=BearerAuth({"checkout": "s3cr3t"}),
    )

An authenticator is a callable of a request's headers (names in lower case) and its peer. It
gives the sender's identity, which travels in the element's metadata as "identity", or None:
that sender is refused before its body is read. It may be a coroutine function. `BearerAuth`
and `BasicAuth` keep digests alone, compare with every one of them in constant time, and show
no credential in their repr.
"""

import base64
import binascii
import hashlib
import hmac
import os
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rxotlp.certificates import Reloaded, no_password

__all__ = ["Authenticator", "BasicAuth", "BearerAuth", "ServerKeys", "Tls"]

Authenticator = Callable[[Mapping[str, str], str], str | Awaitable[str | None] | None]


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """What was read of a `Tls`'s files: the same, for either transport."""

    context: ssl.SSLContext
    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    client_ca: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tls:
    """A receiver's certificate, and whose certificates its clients must show.

    Attributes:
        certificate: a PEM file: the certificate and those between it and its authority.
        key: a PEM file with its private key, without a password.
        client_ca: a PEM file of authorities; who shows no certificate of one of them is not
            let in (mutual TLS). None lets everybody in.

    Files are read when the receiver connects, and again when they have changed; that holds
    for connections from then on. TLS 1.2 or newer.
    """

    certificate: str
    key: str
    client_ca: str | None = None

    def __post_init__(self) -> None:
        for name in ("certificate", "key", "client_ca"):
            given: object = getattr(self, name)
            if isinstance(given, os.PathLike):
                object.__setattr__(self, name, os.fspath(given))
            elif not (isinstance(given, str) or (name == "client_ca" and given is None)):
                raise TypeError(f"Tls({name}=…): expected a file's name, got {_kind(given)}")

    def load(self, what: str) -> Reloaded[ServerKeys]:
        """Read the files, and watch them.

        Raises:
            OSError: a file that cannot be used, named.
        """
        return Reloaded(what, (self.certificate, self.key, self.client_ca), self._read)

    def _read(self) -> ServerKeys:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self.certificate, self.key, no_password)
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return ServerKeys(
            context,
            Path(self.certificate).read_bytes(),
            Path(self.key).read_bytes(),
            None if self.client_ca is None else Path(self.client_ca).read_bytes(),
        )


class _Known:
    """Digests of credentials and whose they are."""

    __slots__ = ("_known",)

    challenge: str  # for the WWW-Authenticate header of a refusal

    def __init__(self, credentials: Iterable[tuple[str, bytes]]) -> None:
        self._known = [(identity, _digest(secret)) for identity, secret in credentials]
        if not self._known:
            raise ValueError(f"{type(self).__name__}: expected at least one; nobody could send")

    def _find(self, secret: bytes) -> str | None:
        """Whose it is; takes as long whichever it is, and if it is nobody's."""
        given = _digest(secret)
        found: str | None = None
        for identity, known in self._known:
            if hmac.compare_digest(given, known):
                found = identity
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._known)}>"


class BearerAuth(_Known):
    """Lets in who sends `Authorization: Bearer TOKEN` with a known token.

    Args:
        tokens: identity to token; or tokens alone, whose senders are all called "bearer".

    Raises:
        ValueError: no token, or one that no header can hold. It is not in the message.
        TypeError: a token that is no text.
    """

    __slots__ = ()

    challenge = 'Bearer realm="otlp"'

    def __init__(self, tokens: str | Iterable[str] | Mapping[str, str]) -> None:
        if isinstance(tokens, Mapping):
            named = list(tokens.items())
        else:
            single = [tokens] if isinstance(tokens, str) else list(tokens)
            named = [("bearer", token) for token in single]
        for number, (identity, token) in enumerate(named, 1):
            if not isinstance(token, str) or not isinstance(identity, str):
                raise TypeError(f"BearerAuth: token {number}: expected a text, got {_kind(token)}")
            if not (token.isascii() and token.isprintable() and token) or " " in token:
                raise ValueError(
                    f"BearerAuth: token {number}: expected visible ASCII; no header could hold it"
                )
        super().__init__((identity, token.encode()) for identity, token in named)

    def __call__(self, headers: Mapping[str, str], peer: str) -> str | None:
        """Whose token it is; None for none of these."""
        token = _credential(headers, "bearer")
        return None if token is None else self._find(token.encode(errors="replace"))


class BasicAuth(_Known):
    """Lets in who sends `Authorization: Basic ...` with a known user and password.

    Args:
        users: user to password. The user is the identity.

    Raises:
        ValueError: no user, an empty password, or a user with a colon in its name.
        TypeError: a user or a password that is no text.
    """

    __slots__ = ()

    challenge = 'Basic realm="otlp", charset="UTF-8"'

    def __init__(self, users: Mapping[str, str]) -> None:
        for user, password in users.items():
            if not isinstance(user, str) or not isinstance(password, str):
                raise TypeError(f"BasicAuth: password of {user!r}: expected a text")
            if not password:
                raise ValueError(f"BasicAuth: password of {user!r}: expected one that is not empty")
            if ":" in user:
                raise ValueError(f"BasicAuth: user {user!r}: expected no colon; it ends the name")
        super().__init__((user, f"{user}:{password}".encode()) for user, password in users.items())

    def __call__(self, headers: Mapping[str, str], peer: str) -> str | None:
        """The user, if the password is theirs."""
        encoded = _credential(headers, "basic")
        if encoded is None:
            return None
        try:
            return self._find(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError):
            return None


def _credential(headers: Mapping[str, str], scheme: str) -> str | None:
    """What follows the scheme in the Authorization header."""
    given, _, rest = headers.get("authorization", "").strip().partition(" ")
    return rest.strip() if given.lower() == scheme else None


def _digest(secret: bytes) -> bytes:
    """As long for a short secret as for a long one, so that comparing tells no length."""
    return hashlib.sha256(secret).digest()


def _kind(value: object) -> str:
    return type(value).__name__
