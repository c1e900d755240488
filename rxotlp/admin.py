"""An HTTP endpoint that says how a pipeline is: for probes, load balancers and people.

    GET /healthz    200, or 503 with the reason: its scheduler runs what it is given
    GET /readyz     200, or 503 with the reason: starting, draining, the stream died, sources
                    refuse; senders may come, or should go elsewhere
    GET /books      every stage's counts

All as JSON. It runs on a thread of its own, so that it can answer while the pipeline's is
stuck, and before it has started. It shows names of stages, counts and what a stream died
of, to whoever reaches it: it listens on 127.0.0.1 unless told otherwise.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from rxotlp.books import Account
from rxotlp.errors import PipelineError
from rxotlp.schedulers import VirtualScheduler
from rxotlp.schedulers.loop_thread import LoopThread

if TYPE_CHECKING:
    from aiohttp import web

    from rxotlp.pipeline import Pipeline

__all__ = ["Admin", "PipelineView", "View", "address_of", "books_of", "parse", "serve"]

LOOPBACK = "127.0.0.1"
PATIENCE = 5.0  # seconds that a scheduler may take to run something, and still be well
CLOSING = 5.0  # seconds


class View(Protocol):
    """What is asked, on the endpoint's own loop."""

    async def unwell(self) -> str | None:
        """Why it should be restarted; None: it is well."""

    async def unready(self) -> str | None:
        """Why senders should not come; None: they may."""

    async def details(self) -> Mapping[str, Any]:
        """What else `/readyz` tells."""

    async def books(self) -> Mapping[str, Any]:
        """What `/books` tells."""


class PipelineView:
    """How a pipeline is."""

    def __init__(self, pipeline: "Pipeline", *, patience: float = PATIENCE) -> None:
        self._pipeline = pipeline
        self._patience = patience

    async def unwell(self) -> str | None:
        """Its scheduler does not run what it is given."""
        try:
            scheduler = self._pipeline.scheduler
        except PipelineError:
            return None  # not started
        if isinstance(scheduler, VirtualScheduler):
            return None  # runs when it is told to
        loop = asyncio.get_running_loop()
        ran = asyncio.Event()

        def beat() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(ran.set)

        try:
            scheduler.post(beat)
        except PipelineError:
            return None  # closed: it has stopped
        try:
            await asyncio.wait_for(ran.wait(), self._patience)
        except TimeoutError:
            return f"its scheduler has run nothing for {self._patience:g} s"
        return None

    async def unready(self) -> str | None:
        """As `Pipeline.unready`."""
        return self._pipeline.unready

    async def details(self) -> Mapping[str, Any]:
        """Where it listens, and how often its stream was subscribed anew."""
        return {"addresses": self._pipeline.addresses, "restarts": self._pipeline.restarts}

    async def books(self) -> Mapping[str, Any]:
        """Its books."""
        return books_of(self._pipeline.books)


def books_of(accounts: Iterable[Account]) -> dict[str, Any]:
    """Accounts as JSON."""
    listed = list(accounts)
    return {
        "held": sum(account.held for account in listed),
        "balanced": all(account.balanced for account in listed),
        "accounts": [asdict(account) for account in listed],
    }


class Admin:
    """The endpoint, until it is closed; also a context manager.

    Args:
        view: what is asked.
        address: see `serve`.

    Attributes:
        address: where it listens: "host:port", or "unix:path".

    Raises:
        OSError: the address cannot be had.
        ValueError: it is no address.
    """

    def __init__(self, view: View, address: str) -> None:
        host, port = parse(address)
        self._view = view
        self._thread = LoopThread()
        try:
            self._runner, self.address = self._run(self._start(host, port))
        except BaseException:
            self._thread.close(CLOSING)
            raise

    def close(self) -> None:
        """Stop answering. Idempotent."""
        if not self._thread.loop.is_closed():
            self._run(self._runner.cleanup())
            self._thread.close(CLOSING)
            if self.address.startswith("unix:"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.address[5:])

    def __enter__(self) -> "Admin":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._thread.loop).result()

    async def _start(self, host: str, port: int | None) -> "tuple[web.AppRunner, str]":
        from aiohttp import web  # takes a moment, and few pipelines need it

        app = web.Application()
        app.router.add_get("/healthz", _answering(self._healthz))
        app.router.add_get("/readyz", _answering(self._readyz))
        app.router.add_get("/books", _answering(self._books))
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await runner.setup()
        site: web.BaseSite
        if port is None:
            site = web.UnixSite(runner, host)
            where = f"unix:{host}"
        else:
            site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            reason = (error.strerror or str(error)).rpartition(": ")[2]
            raise OSError(
                error.errno,
                f"the admin endpoint cannot listen on {address_of(host, port)}: {reason}",
            ) from None
        if port is not None:
            where = address_of(*runner.addresses[0][:2])
        return runner, where

    async def _healthz(self) -> tuple[int, Mapping[str, Any]]:
        reason = await self._view.unwell()
        return (503, {"healthy": False, "reason": reason}) if reason else (200, {"healthy": True})

    async def _readyz(self) -> tuple[int, Mapping[str, Any]]:
        reason = await self._view.unready()
        said = {"ready": False, "reason": reason} if reason else {"ready": True}
        return 503 if reason else 200, {**said, **await self._view.details()}

    async def _books(self) -> tuple[int, Mapping[str, Any]]:
        return 200, await self._view.books()

    def __repr__(self) -> str:
        return f"<Admin {self.address}>"


def serve(pipeline: "Pipeline", address: str = "127.0.0.1:0") -> Admin:
    """Say over HTTP how a pipeline is, from before it starts until this is closed.

    ```
    with admin.serve(pipeline, "127.0.0.1:8080"), pipeline:
        ...
    ```

    Args:
        pipeline: started or not.
        address: "host:port"; "port" or ":port" alone is on 127.0.0.1. Port 0 takes a free
            one, see `address`. "unix:path" is a socket in the file system.

    Raises:
        OSError: the address cannot be had.
        ValueError: it is no address.
    """
    return Admin(PipelineView(pipeline), address)


def parse(address: str) -> tuple[str, int | None]:
    """Host and port of an address, or a path and None.

    Raises:
        ValueError: it is no address.
    """
    if address.startswith("unix:") and len(address) > 5:
        return address[5:], None
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        port = ""
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(
            f"admin address {address!r}: expected PORT, HOST:PORT or unix:PATH, with a port from "
            "0 to 65535; 0 takes a free one"
        )
    return host or LOOPBACK, int(port)


def address_of(host: str, port: int | None) -> str:
    """An address as it is written."""
    if port is None:
        return f"unix:{host}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _answering(
    ask: Callable[[], Awaitable[tuple[int, Mapping[str, Any]]]],
) -> "Callable[[web.Request], Awaitable[web.Response]]":
    from aiohttp import web

    async def handle(_request: web.Request) -> web.Response:
        status, said = await ask()
        return web.json_response(said, status=status, headers={"Cache-Control": "no-store"})

    return handle
