"""A stream of Valkey's as the way of a bridge: a function that publishes into it, and a process that takes from it.

The function does what a test has told it: ``no`` does not take the message, ``hangs`` waits until the test lets it go
on, and ``dies`` kills its process once the stream has the message.
"""

import os
import signal
import sys
from importlib import import_module
from typing import Any

from redis import Redis

from sagas.bridges import bridge_named


def is_meant(url: str) -> bool:
    """Return whether a bridge goes by a stream, by the URL of its way."""
    return url.startswith("unix:")


def name(here: str, there: str) -> str:
    return f"from-{here}-to-{there}"


def tell(url: str, stream: str, *words: str) -> None:
    """Say what the function does with the next messages."""
    with Redis.from_url(url) as server:
        server.rpush(f"{stream}.told", *words)


def is_hanging(url: str, stream: str) -> bool:
    with Redis.from_url(url) as server:
        return bool(server.exists(f"{stream}.hangs"))


def let_go_on(url: str, stream: str) -> None:
    """Let a function that hangs go on."""
    with Redis.from_url(url) as server:
        server.delete(f"{stream}.hangs")
        server.rpush(f"{stream}.goes-on", "now")


def count(url: str, stream: str) -> int:
    """Return how many messages were ever put into a stream."""
    with Redis.from_url(url) as server:
        info: Any = server.xinfo_stream(stream)
        return int(info["entries-added"])


def hand_over(url: str, stream: str, body: bytes, headers: dict[str, str]) -> None:
    """Publish a message, as an application's ``publish=`` does."""
    with Redis.from_url(url) as server:
        told = server.lpop(f"{stream}.told")
        if told == b"no":
            raise ConnectionError("the stream is away")
        if told == b"hangs":
            server.set(f"{stream}.hangs", 1)
            server.blpop([f"{stream}.goes-on"])
        server.xadd(stream, {"body": body, **headers})
        if told == b"dies":
            os.kill(os.getpid(), signal.SIGKILL)


def carry(here: str, there: str) -> None:
    """Take from a stream for a bridge for ever; what was received is deleted afterwards."""
    import_module("tests.support.application")
    import_module(f"tests.support.bridged.{here}")
    bridge, stream = bridge_named(there), name(there, here)
    with Redis.from_url(os.environ["SAGAS_TEST_BRIDGE"]) as server:
        print(f"carries from {there}", flush=True)
        while True:
            read: Any = server.xread({stream: "0"}, count=10, block=200)
            for id_, fields in (entry for _, entries in read for entry in entries):
                # Their names as HTTP may spell them, and their values as Kafka gives them.
                bridge.receive(fields.pop(b"body"), {name.decode().title(): value for name, value in fields.items()})
                server.xdel(stream, id_)


if __name__ == "__main__":
    carry(*sys.argv[1:])
