"""Listening addresses: read them, bind them, and say clearly why one cannot be had."""

import errno
import ipaddress
import os
import socket

__all__ = ["bind", "format_address", "is_loopback", "parse_address", "probe"]


def parse_address(call: str, name: str, address: str) -> tuple[str, int]:
    """Split `host:port`; an IPv6 host stands in brackets.

    Raises:
        ValueError: it is not of that form, or names no host: listening on every interface
            has to be said (`0.0.0.0:4317`).
        TypeError: it is no text.
    """
    if not isinstance(address, str):
        raise TypeError(
            f"{call}({name}={address!r}): expected 'host:port', got {type(address).__name__}"
        )
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(
            f"{call}({name}={address!r}): expected 'host:port' with a port from 0 to 65535; "
            "0 takes a free one, 0.0.0.0 or [::] as host listens on every interface"
        )
    return host, int(port)


def format_address(host: str, port: int) -> str:
    """`host:port`, with an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a numeric `host:port`."""
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    return ipaddress.ip_address(host).is_loopback


def bind(what: str, host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A bound stream socket that does not listen yet.

    Args:
        what: listens, for the error.
        host, port: where.
        reuse_port: other processes of this user may bind it too, all with this.

    Raises:
        OSError: with the address and the reason, in one line.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unusable(what, host, port, error) from None
    try:
        if os.name == "posix":  # elsewhere it would let two processes share one port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.setblocking(False)
        made.bind(where)
    except OSError as error:
        made.close()
        raise _unusable(what, host, port, error) from None
    return made


def probe(what: str, host: str, port: int, *, reuse_port: bool = False) -> str:
    """See whether an address can be bound, for a library that does not say why it could not.

    Returns:
        The numeric host.

    Raises:
        OSError: as `bind`.
    """
    with bind(what, host, port, reuse_port=reuse_port) as made:
        return str(made.getsockname()[0])


def _unusable(what: str, host: str, port: int, error: OSError) -> OSError:
    reason = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        reason = "address already in use"
    return OSError(
        error.errno, f"{what} cannot listen on {format_address(host, port)}: {reason.lower()}"
    )
