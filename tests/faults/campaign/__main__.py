"""python -m tests.faults.campaign --seed 7 --minutes 10 --sagas 1000"""

import argparse
import json
import sys
from pathlib import Path

from tests.faults.campaign.campaign import run
from tests.faults.campaign.catalogue import FAULTS
from tests.faults.campaign.operations import faketime
from tests.faults.campaign.settings import Settings
from tests.support import debian


def arguments() -> argparse.Namespace:
    default = Settings()
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--minutes", type=float, default=default.minutes, help="for how long faults strike at most")
    parser.add_argument("--sagas", type=int, default=default.sagas)
    parser.add_argument("--broker", choices=["valkey", "rabbitmq"], default=default.broker)
    parser.add_argument("--in-flight", type=int, default=default.in_flight, help="how many at once (%(default)s)")
    parser.add_argument("--backlog", type=int, default=0, help="so many wait before the workers come; so many at once")
    parser.add_argument("--inline", action="store_true", help="the sagas go on without a message a step")
    parser.add_argument("--gap", type=float, default=default.gap, help="seconds between two faults, on average")
    parser.add_argument("--faults", nargs="*", default=[], help="names or groups; all by default")
    parser.add_argument("--without", nargs="*", default=[], help="names or groups of faults that stay away")
    parser.add_argument("--deal", action="store_true", help="each fault once before any comes again")
    parser.add_argument("--pace", type=float, default=default.pace, help="multiplies the pauses of the sagas' steps")
    parser.add_argument("--children", type=int, default=default.children, help="of each prefork worker")
    parser.add_argument("--recoveries", type=int, default=0, help="measure so many kills of idle workers' colleagues")
    parser.add_argument("--restarts", type=int, default=0, help="measure so many restarts of PostgreSQL")
    parser.add_argument("--strikes", type=int, default=None, help="so many faults at most")
    parser.add_argument("--patience", type=float, default=default.patience)
    parser.add_argument("--report", type=Path, help="write the report there too, as Markdown")
    parser.add_argument("--json", type=Path, help="and as JSON")
    parser.add_argument("--logs", type=Path, help="keep the logs there")
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    given = parser.parse_args()
    if given.backlog > given.sagas:
        parser.error(f"--backlog {given.backlog} is more than --sagas {given.sagas}: a backlog is a part of them")
    if given.backlog and (given.recoveries or given.restarts):
        parser.error("--recoveries and --restarts measure workers that have little to do: leave out --backlog")
    return given


def main() -> int:
    given = arguments()
    if given.list:
        for fault in FAULTS.values():
            print(f"{fault.group:10} {fault.name}")
        return 0
    if faketime() is None and (reason := debian.install("faketime")):
        print(f"no wrong clocks: {reason}")
    report = run(
        Settings(
            seed=given.seed,
            minutes=given.minutes,
            sagas=given.sagas,
            broker=given.broker,
            in_flight=given.in_flight,
            backlog=given.backlog,
            continuation="inline" if given.inline else "chain",
            gap=given.gap,
            pace=given.pace,
            faults=tuple(given.faults),
            without=tuple(given.without),
            deal=given.deal,
            recoveries=given.recoveries,
            restarts=given.restarts,
            children=given.children,
            strikes=given.strikes,
            patience=given.patience,
            logs=given.logs,
        )
    )
    text = report.to_markdown()
    print(f"\n{text}\n\n# In short\n\n{report.to_readme()}")
    if given.report:
        given.report.write_text(f"{report.to_readme()}\n\n{text}\n")
    if given.json:
        given.json.write_text(json.dumps(report.to_json(), indent=2, default=str) + "\n")
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
