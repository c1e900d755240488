"""Processes that a benchmark steers: a JSON line in, a JSON line out.

The processes are our own, so the protocol is the smallest that works: a command is
`{"do": NAME, ...arguments}`, the answer is what the coroutine of that name returned, or
`{"error": TEXT}`. A child ends when its standard input does, so none outlives its benchmark.
"""

import asyncio
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "Child", "Command", "child", "serve"]

Command = Callable[..., Awaitable[Any]]

ROOT = Path(__file__).parent.parent


class Child:
    """The parent's end."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid

    @cached_property
    def hello(self) -> Any:
        """What it said when it was ready; waits until it is."""
        return self._read()

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have it do something; returns what that gave.

        Raises:
            RuntimeError: it could not, or it has ended.
        """
        self.tell(do, **arguments)
        return self.answer()

    def tell(self, do: str, **arguments: Any) -> None:
        """As `ask`, without waiting; `answer` waits."""
        assert self.hello is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """What the command told last gave."""
        found = self._read()
        if isinstance(found, dict) and "error" in found:
            raise RuntimeError(found["error"])
        return found

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of the benchmark ended with {self._process.wait()}")
        return json.loads(line)


@contextmanager
def child(*arguments: str) -> Iterator[Child]:
    """Run `python -m ARGUMENTS` for as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,  # Ctrl-C is for the benchmark, which ends them
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Child(process)
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


async def serve(hello: Any, commands: dict[str, Command]) -> None:
    """The child's end: say hello and do what it is told until its input ends."""
    reader = asyncio.StreamReader(limit=1 << 26)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps(hello), flush=True)
    while line := await reader.readline():
        command = json.loads(line)
        try:
            result = await commands[command.pop("do")](**command)
        except Exception as error:
            traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)
