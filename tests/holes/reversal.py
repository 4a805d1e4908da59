"""What the table is made of: edits that take a fix away, and the tests that must notice."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """One place of one file. ``old`` occurs there exactly once."""

    file: str
    old: str
    new: str

    def applied_to(self, text: str) -> str:
        """The text without the fix.

        Raises:
            ValueError: the place is not there any more, or not the only one.
        """
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.file} has {found} places like this, not one: {self.old.strip()!r}")
        return text.replace(self.old, self.new)


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
