"""The pages that users read, and what is compared with them: their code blocks, and what commands print."""

import re

from tests.support.workers import ROOT

README = (ROOT / "README.md").read_text()
#: Every page, by its path from the root.
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / ".github").glob("*.md")),
        ROOT / "tests" / "README.md",
    )
}
#: The files of the README's example.
FILES = ("shop.py", "orders.py", "start.py")
#: The servers' addresses in it.
BROKER, DATABASE = '"redis://localhost:6379/0"', '"postgresql://localhost/shop"'

#: What is another each time that a command is run, and what stands for it.
CHANGES = {
    r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b": "ID",
    r"\b[0-9a-f]{8}(-[0-9a-f]{4}){1,2}\b": "SHORT-ID",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+": "TIME",
    r"\+\d+\.\d{3} s": "+SECONDS",
    r"\bworker=\S+": "worker=NAME",
}


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a page that are in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next one of its rank."""
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def printed(text: str, command: str) -> str:
    """What a page says that a command prints: the rest of the block that begins with it."""
    (found,) = (block for block in blocks(text, "console") if block.startswith(f"$ {command}\n"))
    return found.partition("\n")[2]


def shape(text: str) -> str:
    """The same for two runs of a command: without times, ids and names of workers, and however lines were broken."""
    for changing, stands_for in CHANGES.items():
        text = re.sub(changing, stands_for, text)
    return " ".join(text.split())
