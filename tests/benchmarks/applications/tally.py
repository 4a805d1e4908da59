"""What all contenders share: two queues, and how a last step says that it ran, by one command on another keyspace.

It imports nothing of sagas: what the others keep in memory is to be theirs.
"""

import os
import time

from redis import Redis

#: Queues apart: what waits in the second is let go at a moment of the benchmark's choosing.
WARM, BENCH = "celery", "bench"
#: The keyspace; messages are in 0.
TALLY = 1
ENDS, BEGAN, GO = "ends", "began", "go"
client = Redis(unix_socket_path=os.environ.get("SAGAS_BENCH_TALLY", ""), db=TALLY)


def note_end() -> None:
    """Add the moment to the list of ends; who waits for one saga is woken by it."""
    client.rpush(ENDS, time.time())


def note_beginning() -> None:
    """Keep the moment of the very first call."""
    client.setnx(BEGAN, time.time())
