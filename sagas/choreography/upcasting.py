"""Upcasters: functions that turn the fields of one version of an event into those of the next."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

from sagas.model.choreography.unreadable import EventUnreadable

#: Takes the fields of one version, and returns those of the next.
Upcaster: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]
AnUpcaster = TypeVar("AnUpcaster", bound=Upcaster)


class Upcasters:
    """The upcasters of one type of event, by the version that they begin with."""

    def __init__(self, type_: str, version: int) -> None:
        self._type = type_
        self._version = version
        self._listed: list[tuple[int, Upcaster]] = []

    def add(self, from_version: int, function: Upcaster) -> None:
        """Add an upcaster; one of the same module and name counts as an earlier import of it."""
        known = [
            (version, one)
            for version, one in self._listed
            if (version, qualified_name(one)) != (from_version, qualified_name(function))
        ]
        self._listed = [*known, (from_version, function)]

    @property
    def from_versions(self) -> tuple[int, ...]:
        """The versions that they begin with, in order."""
        return tuple(sorted({version for version, _ in self._listed}))

    @property
    def oldest(self) -> int:
        """The oldest version that can be read."""
        oldest = self._version
        while oldest - 1 in self.from_versions:
            oldest -= 1
        return oldest

    def problems(self) -> Iterator[str]:
        """Yield whatever keeps them from being a chain that ends at the event's version."""
        what, newest = f"event {self._type!r}", self._version
        for version, several in groupby(sorted(self._listed, key=itemgetter(0)), key=itemgetter(0)):
            names = [qualified_name(function) for _, function in several]
            if len(names) > 1:
                yield f"{what}: {' and '.join(names)} both begin with version {version}: leave one out"
            if version >= newest:
                yield (
                    f"{what}: {names[0]} begins with version {version}, and the event is of version {newest}: "
                    "raise the event's version=, or lower from_version="
                )
        starts = [version for version in self.from_versions if version < newest]
        for missing in range(starts[0], newest) if starts else ():
            if missing not in starts:
                yield (
                    f"{what}: nothing upcasts version {missing}, so the chain from version {starts[0]} to {newest} "
                    f"has a gap: add @upcast(…, from_version={missing})"
                )

    def raised(self, version: int, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the fields as the event's own version has them.

        Raises:
            EventUnreadable: the version is newer than this code, too old for its upcasters, or one of these fails.
        """
        what = f"event {self._type!r} of version {version}"
        if version > self._version:
            raise EventUnreadable(
                f"{what} is newer than the code at hand, which knows version {self._version}: it waits for a worker "
                "with the newer code"
            )
        if version < self.oldest:
            raise broken(
                f"{what} cannot be read: the upcasters here begin with version {self.oldest}. Add @upcast(…, "
                f"from_version={version})"
            )
        # Each version has one: a chain with two is refused when its choreography is compiled.
        upcasters = dict(self._listed)
        for step in range(version, self._version):
            fields = _called(upcasters[step], fields, f"{what}: the upcaster {qualified_name(upcasters[step])}")
        return fields


def _called(upcaster: Upcaster, fields: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    try:
        given = upcaster(dict(fields))
    except Exception as error:
        raise broken(f"{what} raised {type(error).__qualname__}: {error}. Mend it, and replay") from error
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise broken(
            f"{what} returned a {type(given).__qualname__}, not a dict of the next version's fields. "
            "Mend it, and replay"
        )
    return given


def broken(what: str) -> EventUnreadable:
    """Return the error of an event that waiting does not make readable."""
    error = EventUnreadable(what)
    error.lacks_value = True
    return error


def qualified_name(named: Any) -> str:
    """Return the name of a function or class, with its module."""
    name = getattr(named, "__qualname__", None)
    return f"{named.__module__}.{name}" if name else repr(named)


def checked(upcasters: Iterable[Upcasters]) -> list[str]:
    """Return the problems of all of them."""
    return [problem for one in upcasters for problem in one.problems()]
