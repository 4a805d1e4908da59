"""Cables between processes and servers: TCP proxies that can be cut, stopped, slowed, or lose one direction.

Everybody has a cable of their own to each server, so one worker can be alone in the dark.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Any

#: Where a server listens: on a Unix socket or a TCP port.
Upstream = Path | tuple[str, int]
CHUNK = 65536


class Condition(StrEnum):
    """How a cable is."""

    GOOD = "good"
    CUT = "cut"  # connections are reset, new ones refused
    HOLE = "hole"  # nothing gets through, and nobody is told
    MUTE = "mute"  # what is asked arrives, the answers are lost
    SLOW = "slow"  # everything arrives, later


class Cable:
    """One listening port that leads to one server."""

    def __init__(self, network: "Network", name: str, upstream: Callable[[], Upstream]) -> None:
        self.name = name
        self.port = 0
        self.condition = Condition.GOOD
        self.delay = 0.0
        self._network = network
        self._upstream = upstream
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    # -- from the campaign's thread

    def set(self, condition: Condition, delay: float = 0.0) -> None:
        """From now on; a cut resets what is open, and so does the end of a silence in which answers were lost."""
        self._network.call(self._set(condition, delay))

    def reset(self) -> None:
        """Break every connection, as a router does that was restarted."""
        self._network.call(self._reset())

    # -- in the network's thread

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _set(self, condition: Condition, delay: float) -> None:
        former, self.condition, self.delay = self.condition, condition, delay
        if condition is Condition.HOLE:
            self._open.clear()
        else:
            self._open.set()
        if condition is Condition.CUT or former is Condition.MUTE:
            await self._reset()

    async def _reset(self) -> None:
        for writer in list(self._writers):
            break_off(writer)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._carry(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.condition is Condition.CUT:
            return
        await self._open.wait()
        answers, server = await connect(self._upstream())
        self._writers.add(server)
        try:
            pumps = [
                asyncio.ensure_future(self._pump(reader, server, loses=False)),
                asyncio.ensure_future(self._pump(answers, writer, loses=True)),
            ]
            _, pending = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pending:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            server.close()
            self._writers.discard(server)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, loses: bool) -> None:
        while chunk := await reader.read(CHUNK):
            if not self._open.is_set():
                await self._open.wait()
            if self.condition is Condition.SLOW:
                await asyncio.sleep(self.delay)
            if loses and self.condition is Condition.MUTE:
                continue
            writer.write(chunk)
            await writer.drain()


class Network:
    """All cables, in a thread of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._cables: list[Cable] = []

    def __enter__(self) -> "Network":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for cable in self._cables:
            self.call(cable.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cable(self, name: str, upstream: Callable[[], Upstream]) -> Cable:
        """A new cable to wherever `upstream` says at the moment of each connection."""
        made = Cable(self, name, upstream)
        self.call(made.listen())
        self._cables.append(made)
        return made

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


async def connect(upstream: Upstream) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(upstream, Path):
        return await asyncio.open_unix_connection(str(upstream))
    return await asyncio.open_connection(*upstream)


def break_off(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as a cable does that is pulled out of a router."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_INET and not writer.transport.is_closing():
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
