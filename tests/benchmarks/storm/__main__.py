"""What a backlog costs after an outage, for each kind of outage: ``python3 run.py bench storm``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.bench_servers import BenchServers
from tests.benchmarks.storm.drain import Drain, Settings
from tests.benchmarks.storm.figures import Drained, storm_table
from tests.benchmarks.storm.kinds import KINDS, PLAIN, Kind
from tests.benchmarks.table import Table


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    default = Settings()
    parser = argparse.ArgumentParser(prog="python3 run.py bench storm", description=__doc__)
    parser.add_argument("--n", type=int, default=default.sagas, help="how many sagas of each kind (%(default)s)")
    parser.add_argument(
        "--kinds",
        nargs="+",
        metavar="KIND",
        help="kinds to run beside the plain drain: " + ", ".join(k.name for k in KINDS),
    )
    parser.add_argument("--workers", type=int, default=default.workers)
    parser.add_argument("--processes", type=int, default=default.processes, help="processes of each worker")
    parser.add_argument("--limit", type=float, default=default.limit, help="seconds that a kind may take (%(default)g)")
    parser.add_argument("--away", type=float, default=default.away, help="seconds that a server is away (%(default)g)")
    parser.add_argument(
        "--slots", type=int, default=default.slots, help="slots to which a fleet of one is scaled out (%(default)s)"
    )
    parser.add_argument("--logs", type=Path, help="keep all logs there")
    parser.add_argument(
        "--again", action="store_true", help="make a plain drain before each kind: if others use the machine too"
    )
    given = parser.parse_args(words)
    known = {kind.name for kind in KINDS}
    if given.kinds is not None:
        given.kinds = [name.replace("-", " ") for name in given.kinds]
    if unknown := [name for name in given.kinds or () if name not in known]:
        parser.error(f"there is no kind {unknown[0]!r}: they are {', '.join(map(repr, sorted(known)))}")
    if min(given.n, given.workers, given.processes, given.slots) < 1:
        parser.error("--n, --workers, --processes and --slots must be whole numbers from 1 on")
    return given


def chosen(names: Sequence[str] | None, *, again: bool = False) -> list[Kind]:
    """The plain drain, which all others are compared with, then those that were asked for; or it before each."""
    asked = [kind for kind in KINDS if kind is not PLAIN and (names is None or kind.name in names)]
    if again and asked:
        return [each for kind in asked for each in (PLAIN, kind)]
    return [PLAIN, *asked]


def measure(kinds: Sequence[Kind], settings: Settings, logs: Path | None = None) -> Table:
    """Each kind in its turn. One that could not be measured is noted, and so is Ctrl-C: what was measured is shown."""
    drained: list[Drained] = []
    trouble: list[str] = []
    with BenchServers(logs) as bench_servers:
        try:
            for kind in kinds:
                try:
                    with bench_servers.run(kind.name.replace(" ", "-")) as run:
                        one = Drain(run, kind, settings).measure()
                except AssertionError as error:
                    trouble.append(f"{kind.name} was not measured: {error}")
                    continue
                drained.append(one)
                print(f"{kind.name}: {one.rate:.1f}/s, {one.statuses}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            trouble.append("Interrupted: the kinds that are missing were not measured.")
    table = storm_table(
        f"{settings.sagas:,} sagas of three no-op steps, {settings.workers} prefork workers of {settings.processes}, "
        "a beat",
        drained,
    )
    table.notes += [
        '"no saga for" and "no step for" are the longest times, in seconds, in which none ended. Messages are counted',
        "by the broker, lost ones too; statements by those who send them, transactions and fsyncs by PostgreSQL:",
        "from the first start until the workers have stopped.",
    ]
    table.notes += trouble
    table.notes += [f"- {kind.name}: {kind.told}" for kind in dict.fromkeys(kinds)]
    return table


def main(words: Sequence[str] | None = None) -> int:
    given = arguments(words)
    settings = Settings(
        sagas=given.n,
        workers=given.workers,
        processes=given.processes,
        limit=given.limit,
        away=given.away,
        slots=given.slots,
    )
    print(f"\n{measure(chosen(given.kinds, again=given.again), settings, given.logs)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
