"""What the table is made of: edits that take a fix away, and the tests that must notice."""

import re
from dataclasses import dataclass

from tests.holes.places import NotThere, Span, fragment, place_of


@dataclass(frozen=True, slots=True)
class Edit:
    """What is replaced at one place of the code, which has ``old`` exactly once.

    The place has a name as pytest's tests have theirs: ``sagas/model/draft.py::InstanceDraft::lost`` is a method,
    ``sagas/store/statements.py::COMPLETE::done`` a common table expression of a statement. The lines of ``new`` are
    indented from that which they begin on.
    """

    place: str
    old: str
    new: str

    @property
    def file(self) -> str:
        return self.place.partition("::")[0]

    def place_in(self, text: str) -> Span:
        """Return where in the file's text the place begins and ends.

        Raises:
            NotThere: the file has no place of this name, or more than one.
        """
        return place_of(self.file, text, self.place.split("::")[1:])

    def applied_to(self, text: str) -> str:
        """Return the file's text without the fix.

        Raises:
            NotThere: the place, or what is replaced there, is not there, or more than once.
        """
        begin, end = self.place_in(text)
        found = list(fragment(self.old, text[begin:end]).finditer(text, begin, end))
        if len(found) != 1:
            raise NotThere(f"{self.place} has {len(found)} fragments like this, not one: {self.old!r}")
        before, after = text[: found[0].start()], text[found[0].end() :]
        line = before.rpartition("\n")[2]
        new = self.new.replace("\n", "\n" + line[: len(line) - len(line.lstrip())])
        for name, renamed in found[0].groupdict().items():
            new = re.sub(rf"(?<!\.)\b{name}\b", renamed, new)
        return f"{before}{new}{after}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reversal:
    """A fix that is taken away."""

    letter: str
    hole: str  # what happens without it
    taken_away: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]  # pytest's node ids; one without parameters means all of them, and one of these must fail

    def __str__(self) -> str:
        return f"{self.letter}: {self.taken_away}"
