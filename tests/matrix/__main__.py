"""Try the versions that are supported, each row in an environment of its own: ``python3 run.py matrix``.

A row whose interpreter, package or PostgreSQL cannot be had is "not here", with the reason; it counts neither as passed
nor as failed. The rows and their pins are in tests/matrix/rows.py.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.matrix.rows import PARTS, ROWS, Row
from tests.matrix.running import Result, run
from tests.matrix.table import listing, table


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 run.py matrix", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="list the rows and what they pin, and end")
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=[row.name for row in ROWS], help="only these rows")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="only these parts")
    parser.add_argument(
        "--directory", type=Path, default=Path(sys.prefix) / "matrix", help="where the environments are (%(default)s)"
    )
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    given = arguments(words)
    chosen = [row for row in ROWS if given.only is None or row.name in given.only]
    if given.list:
        print(listing(chosen))
        return 0
    given.directory.mkdir(parents=True, exist_ok=True)
    results = [_tried(row, given) for row in chosen]
    print(f"\n{table(results, given.parts)}")
    return 1 if any(result.has_failed for result in results) else 0


def _tried(row: Row, given: argparse.Namespace) -> Result:
    return run(row, given.directory, given.parts, lambda said: print(said, file=sys.stderr, flush=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
