"""Encode data as JSON, with tags for the types that JSON lacks, so that the same data comes back.

Tagged: Decimal, UUID, datetime (with the name of its zone, if it has one), date, time, timedelta, and floats that
PostgreSQL's jsonb would turn into integers. Tuples come back as lists, enums as their values, dicts with their keys in
the order of jsonb, and values with named fields as dicts (see `records`). Everything else is refused with the path of
the culprit, as are NUL characters and lone surrogates (PostgreSQL cannot store them), NaN and infinities, and text over
the limit. An encrypted value comes back `Sealed`, and is stored again as it is (see `secrecy`).
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sagas.errors import PayloadError, RowDamaged
from sagas.model.records import unfolded

MAX_BYTES = 1024 * 1024
#: Levels of nesting. Far below the interpreter's limit, which a worker's deep stack reaches sooner than `start` does.
MAX_DEPTH = 100
#: About 4300 digits, which is as many as Python converts from and to text.
MAX_INTEGER_BITS = 14_000
#: Signs that a terminal obeys, that begin another line, or that turn the reading direction. A tab is harmless.
_OBEYED = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
#: Replaces a hidden value.
HIDDEN = "•••"


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """An encrypted value; its representation is hidden."""

    token: str

    def __repr__(self) -> str:
        return HIDDEN


def _written(moment: datetime) -> str:
    """Format a time as RFC 9557 does, with the name of its zone: ``2026-03-28T12:00:00+01:00[Europe/Berlin]``.

    A release that does not know such names refuses to read it, rather than take it for a fixed offset.
    """
    zone = moment.tzinfo
    return f"{moment.isoformat()}[{zone.key}]" if isinstance(zone, ZoneInfo) and zone.key else moment.isoformat()


def _read(text: str) -> datetime:
    written, named, key = text.removesuffix("]").partition("[")
    moment = datetime.fromisoformat(written)
    if not named:
        return moment
    try:
        zone = ZoneInfo(key)
    except ZoneInfoNotFoundError as error:
        raise RowDamaged(
            f"a stored time is in the zone {key!r}, which is not known here: install the package tzdata"
        ) from error
    # The wall clock is meant, and the offset tells the first from the second 02:30 of a night in autumn.
    first, second = moment.replace(tzinfo=zone, fold=0), moment.replace(tzinfo=zone, fold=1)
    return second if second.utcoffset() == moment.utcoffset() != first.utcoffset() else first


_ENCODERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    Decimal: lambda value: {"$decimal": str(value)},
    UUID: lambda value: {"$uuid": str(value)},
    datetime: lambda value: {"$datetime": _written(value)},
    date: lambda value: {"$date": value.isoformat()},
    time: lambda value: {"$time": value.isoformat()},
    timedelta: lambda value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    Sealed: lambda value: {"$secret": value.token},
}
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "$decimal": Decimal,
    "$uuid": UUID,
    "$datetime": _read,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$timedelta": lambda parts: timedelta(days=parts[0], seconds=parts[1], microseconds=parts[2]),
    "$float": float,
    "$secret": Sealed,
    "$escaped": lambda pairs: {key: restore(value) for key, value in pairs},
}


def dumps(value: Any, what: str, limit: int = MAX_BYTES) -> str:
    """Encode ``value`` as tagged JSON text.

    Args:
        value: the data; mappings need text keys.
        what: the name of the value in an error, for example ``data`` or ``result of charge_payment``.
        limit: the largest size in bytes.

    Raises:
        PayloadError: the data cannot be kept and given back unchanged; the message names the path.
    """
    text = json.dumps(_tag(value, what), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    size = len(text.encode())
    if size > limit:
        raise PayloadError(
            f"{what} takes {size} bytes as JSON; the limit is {limit}: store it elsewhere and pass a reference"
        )
    return text


def loads(text: str) -> Any:
    """Decode the output of `dumps`."""
    return restore(json.loads(text))


def _tag(value: Any, path: str, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise PayloadError(f"{path} is nested too deeply, or contains itself; pass a flat structure")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _tag(value.value, path, depth + 1)
    if isinstance(value, str):
        return _checked_text(str.__str__(value), path)
    if isinstance(value, int):
        if value.bit_length() > MAX_INTEGER_BITS:
            raise PayloadError(f"{path} is an integer of thousands of digits; pass it as text")
        return int(value)
    if isinstance(value, float):
        return _tag_float(float(value), path)
    if isinstance(value, Mapping):
        return _tag_mapping(value, path, depth)
    if isinstance(value, list) or type(value) is tuple:
        return [_tag(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, time) and value.tzinfo is not None and value.utcoffset() is None:
        raise PayloadError(f"{path} is a time whose zone has no offset without a date; pass a datetime")
    if isinstance(value, datetime | time) and (value.utcoffset() or timedelta()).microseconds:
        raise PayloadError(f"{path} has a UTC offset with a fraction of a second, which ISO 8601 cannot say; round it")
    for kind in type(value).__mro__:
        if kind in _ENCODERS:
            return _ENCODERS[kind](value)
    fields = fields_of(value, path)
    if fields is not value:
        return _tag(fields, path, depth + 1)
    if isinstance(value, tuple):
        return _tag(list(value), path, depth)
    raise PayloadError(
        f"{path} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be stored; pass text, "
        "numbers, lists, dicts, Decimal, UUID, date or time, or what has named fields: a dataclass or a pydantic model"
    )


def fields_of(value: Any, path: str) -> Any:
    """Return a record as a mapping of its fields, and any other value as it is.

    Raises:
        PayloadError: the record cannot dump itself.
    """
    try:
        return unfolded(value)
    except Exception as error:
        raise PayloadError(
            f"{path} is a {type(value).__qualname__} that cannot be dumped: {type(error).__qualname__}; mend its "
            "serializers, or pass a dict"
        ) from error


def _tag_float(value: float, path: str) -> Any:
    if not math.isfinite(value):
        raise PayloadError(f"{path} is {value}, which JSON cannot hold; pass None or text")
    text = repr(value)
    # jsonb keeps numbers as numeric: an exponent would come back as an integer, a negative zero as zero.
    return {"$float": text} if "e" in text or text == "-0.0" else value


def _tag_mapping(value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            kind = type(key).__name__
            raise PayloadError(f"{path} has the key {_shown_key(key)}, a {kind}; JSON keys are text: use str()")
    tagged = {
        _checked_text(str.__str__(key), f"a key of {path}"): _tag(item, f"{path}[{excerpt(key)}]", depth + 1)
        for key, item in value.items()
    }
    # A user's own single "$…" key would read as a tag.
    if len(tagged) == 1 and next(iter(tagged)).startswith("$"):
        return {"$escaped": [[key, item] for key, item in tagged.items()]}
    return tagged


def _shown_key(key: Any) -> str:
    try:
        return repr(key)[:80]
    except Exception:  # a number of thousands of digits, or a user's own class
        return "…"


def excerpt(given: Any, longest: int = 80) -> str:
    """Return what an error shows of a value: the beginning of a text, and of anything else its type alone."""
    if not isinstance(given, str):
        return f"a {type(given).__qualname__}"
    return repr(given) if len(given) <= longest else f"{given[:longest]!r}…"


def escaped(text: str) -> str:
    """Return a text as one line that a terminal only shows: business keys and errors may come from strangers."""
    return _OBEYED.sub(lambda sign: json.dumps(sign[0])[1:-1], text)


def is_storable(text: str) -> bool:
    """Return whether PostgreSQL can store it: no NUL, no lone surrogate (a terminal in Latin-1 types these)."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _checked_text(text: str, path: str) -> str:
    if "\x00" in text:
        raise PayloadError(f"{path} contains a NUL character, which PostgreSQL cannot store; remove it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PayloadError(f"{path} contains a lone surrogate, which is not valid text; remove it") from error
    return text


def restore(value: Any) -> Any:
    """Turn decoded JSON back into what was stored: every tag becomes its value."""
    if isinstance(value, list):
        return [restore(item) for item in value]
    if isinstance(value, dict):
        if len(value) == 1:
            ((key, item),) = value.items()
            decode = _DECODERS.get(key)
            if decode is not None:
                return decode(item)
        return {key: restore(item) for key, item in value.items()}
    return value
