"""Shared by all contenders: two queues, and the times at which sagas end, noted by one command on another keyspace.

It imports nothing of sagas: what the others keep in memory must be their own.
"""

import os
import time

from redis import Redis

#: Queues apart: what waits in the second is let go at a moment of the benchmark's choosing.
WARM, BENCH = "celery", "bench"
#: The keyspace; messages are in 0.
TIMES = 1
ENDS, BEGAN, GO = "ends", "began", "go"
client = Redis(unix_socket_path=os.environ.get("SAGAS_BENCH_TIMES", ""), db=TIMES)


def note_end() -> None:
    """Add the time to the list of ends, which wakes a process that waits for one saga."""
    client.rpush(ENDS, time.time())


def note_beginning() -> None:
    """Keep the moment of the very first call."""
    client.setnx(BEGAN, time.time())
