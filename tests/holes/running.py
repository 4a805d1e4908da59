"""Takes a fix away in a copy of this directory and runs the tests that must notice."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.holes.places import NotThere
from tests.holes.reversal import Reversal
from tests.holes.witness import SAYS
from tests.support.workers import ROOT

#: How long the tests of one reversal may take, in seconds. Those that fail may wait in vain for half a minute each.
PATIENCE = 600.0
#: A reversal that makes no program any more is noticed by any test.
NONSENSE = re.compile(
    r"\b(SyntaxError|IndentationError|ImportError|ModuleNotFoundError|NameError|UnboundLocalError|UndefinedColumn|"
    r"UndefinedTable|UndefinedFunction|UndefinedObject|AmbiguousColumn|AmbiguousParameter|DatatypeMismatch|"
    r"GroupingError|InvalidColumnReference|FeatureNotSupported|NotNullViolation)\b"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What the tests said without the fix."""

    reversal: Reversal
    ran: int
    failed: dict[str, str]  # each with the first line of its complaint
    unnoticed: list[str]  # the tests that passed in spite of it
    seconds: float
    trouble: str = ""  # why it proves nothing

    @property
    def is_proof(self) -> bool:
        return bool(self.failed) and not self.unnoticed and not self.trouble


def try_without(reversal: Reversal) -> Result:
    """Run the tests of a reversal on a copy without its fix."""
    with tempfile.TemporaryDirectory(prefix="holes-") as directory:
        place = Path(directory).resolve() / "copy"
        copy_to(place)
        began = time.monotonic()
        try:
            for file, text in without(reversal).items():
                (place / file).write_text(text)
        except NotThere as error:
            return Result(reversal=reversal, ran=0, failed={}, unnoticed=[], seconds=0, trouble=str(error))
        output = run_pytest(place, reversal.tests)
        return judged(reversal, place, output, time.monotonic() - began)


def without(reversal: Reversal) -> dict[str, str]:
    """Return the files without the fix, by their names.

    Raises:
        NotThere: an edit does not fit the code.
    """
    texts: dict[str, str] = {}
    for edit in reversal.edits:
        texts[edit.file] = edit.applied_to(texts.get(edit.file) or (ROOT / edit.file).read_text())
    return texts


def copy_to(place: Path) -> None:
    """What git tracks or would track, so nothing that was made."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)


def run_pytest(place: Path, tests: tuple[str, ...]) -> str:
    """Its output. The report is in `report.xml`, what workers said under `made`."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.holes.witness"]
    command += [f"--basetemp={place.parent / 'made'}", f"--junit-xml={place.parent / 'report.xml'}", *tests]
    # The original is installed where it stands; what PYTHONPATH names comes before it, also in the tests' workers.
    # Only the original has a history, from which tests take the last release.
    asked = subprocess.run(["git", "rev-parse", "--absolute-git-dir"], cwd=ROOT, capture_output=True, text=True)
    environment = os.environ | {"PYTHONPATH": str(place), "GIT_DIR": asked.stdout.strip()}
    process = subprocess.Popen(
        command,
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # its servers and workers end with it
        try:
            return process.communicate(timeout=60)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()[0]


def judged(reversal: Reversal, place: Path, output: str, seconds: float) -> Result:
    """What the report says, and whether it can be believed."""
    report = place.parent / "report.xml"
    cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    failed = {name_of(case): complaint(case) for case in cases if case.find("failure") is not None}
    broken = [name_of(case) for case in cases if case.find("error") is not None and case.find("failure") is None]
    unnoticed = [test for test in reversal.tests if not any(is_of(name, test) for name in failed)]
    trouble = next(nonsense(cases, place.parent / "made"), "")
    if f"{SAYS}{place / 'sagas' / '__init__.py'}" not in output:
        trouble = f"the tests were not about the copy: {' '.join(output.splitlines()[-3:])}"
    elif broken and unnoticed and not trouble:
        trouble = f"these did not get as far as their test: {', '.join(broken)}"
    return Result(
        reversal=reversal, ran=len(cases), failed=failed, unnoticed=unnoticed, seconds=seconds, trouble=trouble
    )


def name_of(case: ElementTree.Element) -> str:
    """Its node id, with the parameters."""
    return f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"


def is_of(name: str, test: str) -> bool:
    return name == test or ("[" not in test and name.partition("[")[0] == test)


def complaint(case: ElementTree.Element) -> str:
    failure = case.find("failure")
    return (failure.get("message") or "").strip().partition("\n")[0] if failure is not None else ""


def nonsense(cases: list[ElementTree.Element], made: Path) -> Iterator[str]:
    """Complaints, of tests or of their workers, that a program which is none would cause as well."""
    for case in cases:
        for said in (case.find("failure"), case.find("error")):
            for line in (said.text or "").splitlines() if said is not None else ():
                if line.startswith("E ") and NONSENSE.search(line):
                    yield f"{name_of(case)}: {line[1:].strip()}"
    for log in sorted(made.rglob("*.log")):
        found = NONSENSE.search(log.read_text(errors="replace"))
        if found:
            yield f"{log.name} of a worker has {found[0]}"
