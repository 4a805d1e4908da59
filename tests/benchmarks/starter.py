"""Start sagas as a web process would, one after the other.

``python -m tests.benchmarks.starter tests.benchmarks.applications.ours "chain bench 3" 500``
"""

import argparse
import importlib
import json
import time
from datetime import UTC, datetime
from typing import Any

from tests.benchmarks.applications.noted_times import ENDS, client


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.starter", description=__doc__)
    parser.add_argument("application")
    parser.add_argument("what", help="as its function `start` understands it; or 'prepare', or 'sweep', once")
    parser.add_argument("count", type=int)
    parser.add_argument("--deadline", type=float, help="one moment for all of them, in seconds of the epoch")
    parser.add_argument("--one-by-one", action="store_true", help="wait for each, and tell how long each took")
    given = parser.parse_args()
    application = importlib.import_module(given.application)
    if given.what == "prepare":
        application.prepare()
    elif given.what == "sweep":
        began = time.perf_counter()
        moved = application.sagas.sweep()
        print(json.dumps({"seconds": time.perf_counter() - began, "moved": moved}), flush=True)
    else:
        options = {} if given.deadline is None else {"deadline": datetime.fromtimestamp(given.deadline, UTC)}
        measure = one_by_one if given.one_by_one else in_a_row
        print(json.dumps(measure(application, given.what, given.count, options)), flush=True)


def in_a_row(application: Any, what: str, count: int, options: dict[str, Any]) -> dict[str, float]:
    """Start all at once. Returns the seconds and the CPU seconds of all but the first, which connects."""
    application.start(what, **options)
    began, used = time.perf_counter(), time.process_time()
    for _ in range(count - 1):
        application.start(what, **options)
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}


def one_by_one(application: Any, what: str, count: int, options: dict[str, Any]) -> dict[str, list[float]]:
    """Start each when the one before it has ended. Returns the seconds from its start to its last step."""
    taken = []
    for _ in range(count):
        client.delete(ENDS)
        began = time.time()
        application.start(what, **options)
        ended: Any = client.blpop([ENDS], timeout=60)
        if ended is None:
            raise SystemExit(f"{what} has not ended after a minute")
        taken.append(float(ended[1]) - began)
    return {"seconds": taken}


if __name__ == "__main__":
    main()
