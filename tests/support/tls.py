"""Certificates in files, as a receiver and its clients have them; made once a process."""

import functools
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

from rxotlp.security import Tls

__all__ = ["Keys", "Pem", "issue", "keys_in"]


@dataclass(frozen=True)
class Pem:
    """One certificate and its key."""

    certificate: bytes
    key: bytes


@functools.cache
def authority(name: str) -> trustme.CA:
    """An authority of that name."""
    return trustme.CA(organization_name=name)


@functools.cache
def issue(ca: str, *names: str) -> Pem:
    """A certificate of authority `ca`; making keys is slow, so each is made once."""
    leaf = authority(ca).issue_cert(*names)
    chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
    return Pem(chain, leaf.private_key_pem.bytes())


@dataclass(frozen=True)
class Keys:
    """A folder with a server's certificate, two authorities and a client of each."""

    folder: Path

    def file(self, name: str) -> str:
        """The path of `ca.pem`, `server.pem`, `server.key`, `client.pem`, `other.key` ..."""
        return str(self.folder / name)

    def tls(self, *, mutual: bool = False) -> Tls:
        """The receiver's side."""
        ca = self.file("ca.pem") if mutual else None
        return Tls(self.file("server.pem"), self.file("server.key"), ca)

    def context(self, client: str | None = None) -> ssl.SSLContext:
        """A client's side; `client` shows the certificate of that name."""
        context = ssl.create_default_context(cafile=self.file("ca.pem"))
        if client is not None:
            context.load_cert_chain(self.file(f"{client}.pem"), self.file(f"{client}.key"))
        return context

    def put(self, name: str, pem: Pem) -> None:
        """Replace a certificate and its key, as an operator would: whole files."""
        for ending, content in ((".pem", pem.certificate), (".key", pem.key)):
            fresh = self.folder / f"{name}{ending}.new"
            fresh.write_bytes(content)
            fresh.replace(self.folder / f"{name}{ending}")

    def trust(self, name: str, *authorities: str) -> None:
        """Write a file of authorities."""
        pems = b"".join(authority(ca).cert_pem.bytes() for ca in authorities)
        fresh = self.folder / f"{name}.new"
        fresh.write_bytes(pems)
        fresh.replace(self.folder / name)


def keys_in(folder: Path) -> Keys:
    """Write everything into `folder`; "ours" is trusted, "theirs" is not."""
    keys = Keys(folder)
    keys.put("server", issue("ours", "localhost", "127.0.0.1"))
    keys.put("client", issue("ours", "checkout.example"))
    keys.put("other", issue("theirs", "mallory.example"))
    keys.trust("ca.pem", "ours")
    keys.trust("theirs.pem", "theirs")
    return keys
