"""What pages say that commands print, compared with what they print; and the README's example, as it is printed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support import forked
from tests.support.markdown import FENCE, pages
from tests.support.workers import Worker

#: The text of every page, by its path from the root.
PAGES = {str(page): page.text for page in pages()}
README = PAGES["README.md"]
#: The files of the README's example.
FILES = ("shop.py", "orders.py", "start.py")
#: The servers' addresses in it.
BROKER, DATABASE = '"redis://localhost:6379/0"', '"postgresql://localhost/shop"'

#: Parts of a command's output that differ at each run, and their replacements.
CHANGES = {
    r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b": "ID",
    r"\b[0-9a-f]{8}(-[0-9a-f]{4}){1,2}\b": "SHORT-ID",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+": "TIME",
    r"\+\d+\.\d{3} s": "+SECONDS",
    r"\bworker=\S+": "worker=NAME",
}


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a page in this language."""
    return [block for _, of_block, block in FENCE.findall(text) if of_block == language]


def section(text: str, title: str) -> str:
    """Return the text under a heading, up to the next one of its rank."""
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def printed(text: str, command: str) -> str:
    """Return the output of a command by a page: the rest of the block that begins with it."""
    (found,) = (block for block in blocks(text, "console") if block.startswith(f"$ {command}\n"))
    return found.partition("\n")[2]


def shape(text: str) -> str:
    """Return what two runs of a command have in common: without times, ids, names of workers and line breaks."""
    for changing, stands_for in CHANGES.items():
        text = re.sub(changing, stands_for, text)
    return " ".join(text.split())


class Example:
    """The example's files in a directory, and what is run there."""

    def __init__(self, directory: Path, database_url: str, broker_url: str) -> None:
        self.directory = directory
        self._addresses = {BROKER: repr(broker_url), DATABASE: repr(database_url)}
        for block in blocks(section(README, "A saga"), "python"):
            if named := re.match(r"# (\w+\.py)", block):
                self.write(named[1], block)
        assert {path.name for path in directory.iterdir()} == set(FILES)

    def write(self, name: str, text: str) -> None:
        """A file as it is printed, but with the addresses of these servers."""
        for printed, ours in self._addresses.items():
            text = text.replace(printed, ours)
        (self.directory / name).write_text(text)

    def run(self, line: str) -> str:
        """A command line as a page has it; returns what it prints."""
        program, *arguments = shlex.split(line)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SAGAS_")}
        environment |= {"TZ": "UTC"}
        if program == "celery":
            done = forked.run([program, *arguments], cwd=self.directory, env=environment)
        else:
            command = {"python": sys.executable}[program]
            done = subprocess.run(
                [command, *arguments], cwd=self.directory, env=environment, capture_output=True, text=True, timeout=120
            )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def worker(self) -> Worker:
        return Worker({}, self.directory / "worker.log", application="shop", arguments=(), root=self.directory)
