"""python -m tests.holes [LETTER …]: take each fix away, and see its tests fail."""

import argparse
import sys
import textwrap

from tests.holes.places import NotThere
from tests.holes.reversal import Reversal
from tests.holes.running import Result, try_without, without
from tests.holes.table import LETTERS, TABLE


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.holes", description=__doc__)
    parser.add_argument(
        "letters",
        nargs="*",
        metavar="LETTER",
        help="as --list prints them; all by default",
    )
    parser.add_argument("--list", action="store_true", help="list the holes, and end")
    parser.add_argument("--why", action="store_true", help="print why the tests failed")
    parser.add_argument("--untouched", action="store_true", help="run the same tests with nothing taken away")
    parser.add_argument("--fits", action="store_true", help="only check whether each edit fits the code: seconds")
    given = parser.parse_args()
    unknown = set(given.letters) - set(LETTERS)
    if unknown:
        parser.error(f"there is no hole called {', '.join(sorted(unknown))}; --list prints all")
    return given


def row(result: Result, *, why: bool) -> str:
    mark = "" if result.is_proof else "  <- UNNOTICED" if not result.trouble else "  <- NO PROOF"
    taken_away = textwrap.shorten(result.reversal.taken_away, 88, placeholder=" …")
    counted = f"{len(result.failed)} of {result.ran}"
    lines = [f"{result.reversal.letter:<4} {taken_away:<88} {counted:>8} {result.seconds:6.0f}{mark}"]
    if why or not result.is_proof:
        lines += [
            f"       {test.rpartition('::')[2]}: {textwrap.shorten(said, 150)}" for test, said in result.failed.items()
        ]
        lines += [f"       passed: {test}" for test in result.unnoticed]
    if result.trouble:
        lines.append(f"       {textwrap.shorten(result.trouble, 300)}")
    return "\n".join(lines)


def fitting(chosen: list[Reversal]) -> int:
    """Say which edits do not fit the code, or leave a module that does not compile."""
    troubles = []
    for reversal in chosen:
        try:
            for file, text in without(reversal).items():
                if file.endswith(".py"):
                    compile(text, file, "exec")
        except (NotThere, SyntaxError) as error:
            troubles.append(f"{reversal.letter:<4} {error}")
    print("\n".join(troubles) or f"{len(chosen)} fit the code")
    return 1 if troubles else 0


def main() -> int:
    given = arguments()
    chosen = [reversal for reversal in TABLE if not given.letters or reversal.letter in given.letters]
    if given.list:
        for reversal in chosen:
            print(textwrap.fill(f"{reversal.letter:<4} {reversal.hole}", 120, subsequent_indent="     "))
        return 0
    if given.fits:
        return fitting(chosen)
    if given.untouched:
        tests = dict.fromkeys(test for reversal in chosen for test in reversal.tests)
        nothing = Reversal(letter="", hole="", taken_away="nothing", edits=(), tests=tuple(tests))
        result = try_without(nothing)
        print(f"{result.ran} tests in {result.seconds:.0f} s, failed: {result.failed or 'none'} {result.trouble}")
        return 1 if result.failed or result.trouble else 0
    print(f"{'':<4} {'what is taken away':<88} {'failed':>8} {'s':>6}")
    results = []
    for reversal in chosen:
        results.append(try_without(reversal))
        print(row(results[-1], why=given.why), flush=True)
    return 0 if all(result.is_proof for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
