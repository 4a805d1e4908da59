"""Rules for reading a plan that another release wrote: in a rolling deploy both run at once.

Before 0.2.0 a reader dropped every name that it did not know, whatever it meant. Since then a reader refuses such a
name, unless its writer says that nothing is lost with it; and if a plan would be misunderstood without its new fields,
the writer makes it illegible for those old readers.
"""

from collections.abc import Collection, Mapping
from typing import Any

#: Fields without which a step would do something else: bind other arguments, or be undone where a person should look.
#: A release that does not know one of them must not run the step.
CHANGES_MEANING = frozenset({"if_in_doubt", "inputs", "output", "undo_inputs"})
#: Fields that a release which does not know them may ignore: the step then works as it always has.
HARMLESS = frozenset({"clean", "poll_for", "records", "says_hour", "says_undo_hour"})

#: Ends the name of a harmless field as it is stored.
_HARMLESS_MARK = "?"
#: Stands before each name that a reader must know, after a word that every release reads.
_NEEDS_MARK = "+"


class NewerRelease(ValueError):
    """The stored data was written by a newer release, and this one would misunderstand it."""


def stored_name(name: str) -> str:
    """Return the stored name of a field."""
    return name + _HARMLESS_MARK if name in HARMLESS else name


def known_fields(stored: Mapping[str, Any], known: Collection[str], what: str) -> dict[str, Any]:
    """Return the stored fields without those that are unknown and harmless.

    Raises:
        NewerRelease: a field is unknown, and matters.
    """
    fields = {}
    for stored_as, value in stored.items():
        name = stored_as.removesuffix(_HARMLESS_MARK)
        if name in known:
            fields[name] = value
        elif name == stored_as:
            raise NewerRelease(f"{what} has {name!r:.80}, which this release does not know")
    return fields


def with_needs(word: str, needs: Collection[str]) -> str:
    """Return a word that only readers which know these names can read. Without any it stays as it is."""
    return _NEEDS_MARK.join([word, *sorted(needs)])


def without_needs(word: str, what: str) -> str:
    """Return the word alone.

    Raises:
        NewerRelease: it needs a name that is unknown here.
    """
    plain, *needs = word.split(_NEEDS_MARK)
    for name in needs:
        if name not in CHANGES_MEANING:
            raise NewerRelease(f"{what} needs {name!r:.80}, which this release does not know")
    return plain
