"""What the endpoint of several workers tells: each is asked over its own socket.

Ready is who has one worker that is ready: the kernel sends senders only to workers that
listen, and one that refuses asks them to try again. Unwell is who has one that is unwell.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

from rxotlp.admin import books_of
from rxotlp.books import Account
from rxotlp.cli.sums import add_accounts

if TYPE_CHECKING:
    from rxotlp.cli.workers import Worker

__all__ = ["Inquiry", "WorkersView"]

PATIENCE = 6.0  # seconds; a little more than a worker takes to find its scheduler stuck


class Inquiry:
    """Asks workers' endpoints; an async context manager."""

    def __init__(self) -> None:
        self._sessions: dict[Path, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> "Inquiry":
        return self

    async def __aexit__(self, *exc: object) -> None:
        for session in self._sessions.values():
            await session.close()

    async def __call__(self, path: Path, what: str) -> Any:
        """What it says, whether with 200 or 503; None when it does not answer."""
        session = self._sessions.get(path)
        if session is None:
            session = self._sessions[path] = aiohttp.ClientSession(
                "http://worker",
                connector=aiohttp.UnixConnector(path=str(path), force_close=True),
                timeout=aiohttp.ClientTimeout(total=PATIENCE),
            )
        try:
            async with session.get(what) as answer:
                return await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return None


class Stoppable(Protocol):
    """Who says that all are stopping."""

    @property
    def stopping(self) -> bool:
        """Whether the workers have been told to stop."""


class WorkersView:
    """An `admin.View` of all workers; asked on the endpoint's loop, while theirs goes on."""

    def __init__(self, workers: Sequence["Worker"], supervisor: Stoppable) -> None:
        self._workers = workers
        self._supervisor = supervisor

    async def unwell(self) -> str | None:
        """The first worker that is unwell; one that is dead is started again as it is."""
        async with Inquiry() as ask:
            said = await self._ask_all(ask, "/healthz")
        for worker, answer in zip(self._workers, said, strict=True):
            if worker.phase.value == "running":
                if answer is None:
                    return f"worker {worker.number} does not answer"
                if not answer["healthy"]:
                    return f"worker {worker.number}: {answer['reason']}"
        return None

    async def unready(self) -> str | None:
        """Why no worker is ready."""
        if self._supervisor.stopping:
            return "draining"
        states = (await self.details())["workers"]
        if "ready" in states.values():
            return None
        return "; ".join(f"worker {number}: {state}" for number, state in states.items())

    async def details(self) -> Mapping[str, Any]:
        """How each worker is."""
        async with Inquiry() as ask:
            said = await self._ask_all(ask, "/readyz")
        states = {}
        for worker, answer in zip(self._workers, said, strict=True):
            if answer is None:
                state = worker.phase.value
            else:
                state = "ready" if answer["ready"] else answer["reason"]
            states[str(worker.number)] = state
        addresses: list[Any] = [answer["addresses"] for answer in said if answer is not None]
        return {
            "addresses": addresses[0] if addresses else {},
            "workers": states,
            "restarts": sum(max(0, worker.starts - 1) for worker in self._workers),
        }

    async def books(self) -> Mapping[str, Any]:
        """Of all workers together, those included that have ended and could report."""
        async with Inquiry() as ask:
            said = await self._ask_all(ask, "/books")
        live = [
            [Account(**account) for account in answer["accounts"]]
            for answer in said
            if answer is not None
        ]
        past = [report.accounts for worker in self._workers for report in worker.reports]
        return books_of(add_accounts([*past, *live]))

    async def _ask_all(self, ask: Inquiry, what: str) -> list[Any]:
        return await asyncio.gather(*(ask(worker.socket, what) for worker in self._workers))
