"""What sagas cost beside a bare chain and other libraries, on durable servers: ``python3 run.py bench``.

``python3 run.py bench storm --help``: what a backlog costs after an outage.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import parts
from tests.benchmarks.bench_servers import BenchServers
from tests.benchmarks.contenders import contenders
from tests.benchmarks.rounds import Amount
from tests.benchmarks.storm import __main__ as storm


def arguments(words: Sequence[str]) -> argparse.Namespace:
    default = Amount()
    parser = argparse.ArgumentParser(
        prog="python3 run.py bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=list(parts.PARTS), default=list(parts.PARTS))
    parser.add_argument("--pairs", type=int, default=default.pairs, help="interleaved rounds (%(default)s)")
    parser.add_argument(
        "--sagas", type=int, default=default.sagas, help="sagas of three steps in each drain (%(default)s)"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contenders whose names contain one of these")
    parser.add_argument(
        "--longer",
        nargs="*",
        type=int,
        choices=(10, 50, 100),
        default=[10, 50],
        help="other numbers of steps (%(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="one round of few sagas, and small amounts elsewhere")
    parser.add_argument("--long", action="store_true", help="100,000 sagas in one worker, 10 million ended rows")
    parser.add_argument("--limit", type=float, default=default.limit, help="seconds for one drain (%(default)g)")
    parser.add_argument("--logs", type=Path, help="keep all logs there")
    given = parser.parse_args(words)
    if min(given.pairs, given.sagas) < 1:
        parser.error("--pairs and --sagas must be whole numbers from 1 on")
    return given


def main(words: Sequence[str]) -> int:
    if words[:1] == ["storm"]:
        return storm.main(words[1:])
    given = arguments(words)
    peers = os.environ.get("SAGAS_BENCH_PEERS", "the group `bench` is not installed: use python3 run.py bench")
    python = peers if Path(peers).is_file() else None
    known = contenders(python, given.longer)
    chosen = [
        contender for contender in known if given.only is None or any(name in contender.name for name in given.only)
    ]
    if not chosen:
        names = "; ".join(contender.name for contender in known)
        sys.exit(f"There is no contender named {' or '.join(given.only)}. They are: {names}")
    amount = Amount(pairs=given.pairs, sagas=given.sagas, limit=given.limit)
    size = parts.LONG if given.long else parts.USUAL
    if given.quick:
        amount, size = Amount(pairs=1, sagas=min(given.sagas, 60), warm=6, limit=given.limit), parts.QUICK
    with BenchServers(given.logs) as bench_servers:
        plan = parts.Plan(bench_servers=bench_servers, contenders=chosen, amount=amount, size=size)
        for name in given.parts:
            try:
                table = parts.PARTS[name](plan)
            except AssertionError as error:
                print(f"\n{name} was not measured: {error}", file=sys.stderr, flush=True)
                continue
            if name in ("throughput", "latency") and python is None:
                table.notes.append(f"Without the others: {peers}")
            print(f"\n{table}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
