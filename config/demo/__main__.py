"""Run the demo on real servers and real processes: `python3 run.py demo`.

It uses the servers that SAGAS_DATABASE_URL and SAGAS_BROKER_URL name, and starts its own where they are not set.
Then it starts two workers and beat; the stories are in `config.demo.stories`.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from config.processes import python, until
from config.servers import EmbeddedBroker, EmbeddedPostgres


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupted)
    with ExitStack() as started:
        try:
            return _tell(started)
        except KeyboardInterrupt:
            print("\ninterrupted: stopping everything that was started", flush=True)
            return 130


def _interrupted(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(started: ExitStack) -> int:
    began = time.monotonic()
    print("\n== starting the servers", flush=True)
    if not os.environ.get("SAGAS_DATABASE_URL"):
        os.environ["SAGAS_DATABASE_URL"] = started.enter_context(EmbeddedPostgres()).url
        print("  PostgreSQL, from a wheel, on a Unix socket")
    if not os.environ.get("SAGAS_BROKER_URL"):
        os.environ["SAGAS_BROKER_URL"] = started.enter_context(EmbeddedBroker()).url
        print("  Valkey, from a wheel, on a Unix socket")

    # Imported only now: the application reads its environment at import.
    from config.demo import stories

    stories.prepare()
    started.callback(stories.clear)
    logs = Path(started.enter_context(TemporaryDirectory(prefix="sagas-demo-")))
    workers = {
        name: started.enter_context(_celery(logs, name, "worker", "-n", f"{name}@%h", "-c", "2"))
        for name in ("one", "two")
    }
    started.enter_context(_celery(logs, "beat", "beat", "-s", str(logs / "schedule")))
    for name in workers:
        until(partial(_is_ready, logs / f"{name}.log"), f"worker {name} to be ready")
    print("  two workers and beat")

    right = stories.tell(workers)
    print(f"\ntold in {time.monotonic() - began:.0f} s; stopping everything that was started", flush=True)
    return 0 if right else 1


def _celery(logs: Path, name: str, *arguments: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    return python(["-m", "celery", "-A", "config", *arguments, "-l", "INFO"], logs / f"{name}.log")


def _is_ready(log: Path) -> bool:
    return " ready." in log.read_text()


if __name__ == "__main__":
    sys.exit(main())
