"""The documentation as a reader's program sees it: headings, links, code, commands and the names in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.support.workers import ROOT

FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
#: How commands begin that a reader may type; prose has such words, too.
COMMAND = re.compile(r"(python3? |celery -|flask --|flask sagas|(\./)?manage\.py )")


@dataclass(frozen=True)
class Page:
    """One page of Markdown."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def prose(self) -> str:
        """The text without its code blocks."""
        return FENCE.sub("", self.text)

    def blocks(self, *languages: str) -> list[str]:
        """The code blocks in these languages; in all of them, if none is named."""
        return [block for _, language, block in FENCE.findall(self.text) if not languages or language in languages]

    @cached_property
    def spans(self) -> list[str]:
        """The code in its prose, with the ends of lines as spaces."""
        return [" ".join(span.split()) for span in SPAN.findall(self.prose)]

    @cached_property
    def links(self) -> list[str]:
        return LINK.findall(SPAN.sub("", self.prose))

    @cached_property
    def anchors(self) -> set[str]:
        """What a link to a heading may name, as GitHub makes it."""
        found: dict[str, int] = {}
        anchors = set()
        for heading in HEADING.findall(self.prose):
            slug = slug_of(heading)
            number = found.get(slug, 0)
            found[slug] = number + 1
            anchors.add(f"{slug}-{number}" if number else slug)
        return anchors

    def commands(self) -> Iterator[list[str]]:
        """The commands that it tells a reader to type, each as its words."""
        for block in self.blocks("console", "sh", "bash", "shell"):
            lines = block.replace("\\\n", " ").splitlines()
            typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
            yield from map(words_of, typed or lines)
        yield from (words_of(span) for span in self.spans if COMMAND.match(span))


def slug_of(heading: str) -> str:
    """A heading as GitHub writes it in an address."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")


def words_of(command: str) -> list[str]:
    """Its words without comments, variables that are set for it, and what follows it in a pipe."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        for word in lexer:
            if word and set(word) <= set("|&;"):
                break
            words.append(word)
    except ValueError:  # an apostrophe in what is no command
        return []
    while words and re.fullmatch(r"[A-Z][A-Z0-9_]*=.*", words[0]):
        del words[0]
    return words


def pages() -> list[Page]:
    """The pages that people read, in the order of their names."""
    found = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "tests" / "README.md"]
    found += [*sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / ".github").rglob("*.md"))]
    return [Page(path) for path in found]


def parseable(block: str) -> str:
    """An example as a module that can be parsed: an ellipsis says that something is left out."""
    if re.search(r"^async |await ", block, re.MULTILINE):
        block = "async def example():\n" + "\n".join(f"    {line}" for line in block.splitlines())
    return block.replace(", ...}", "}").replace(", ...)", ")").replace("…", "...")
