"""Data in, the same data out; what cannot come back as it was is refused by the path of the culprit."""

import json
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from time import gmtime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sagas.errors import PayloadError, RowDamaged
from sagas.model.payload import MAX_BYTES, dumps, loads

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
tags = st.sampled_from(["$decimal", "$uuid", "$datetime", "$date", "$time", "$timedelta", "$float", "$escaped", "$"])
offsets = st.builds(timezone, st.builds(timedelta, seconds=st.integers(-86_340, 86_340)))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.uuids()
    | st.datetimes()
    | st.datetimes(timezones=offsets)
    | st.dates()
    | st.times()
    | st.times(timezones=offsets)
    | st.timedeltas()
)
data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text | tags, inner, max_size=4),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal and of one type, all the way down: 1, 1.0, True and Decimal(1) are four things."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other) if isinstance(one, float) else bool(one == other)


def as_jsonb_would(encoded: str) -> str:
    """What PostgreSQL's jsonb gives back: numbers as numeric, which knows neither exponents nor a negative zero."""

    def number(written: str) -> Any:
        plain = format(Decimal(written), "f")
        assert plain.removeprefix("-") == written.removeprefix("-")
        assert not (plain.startswith("-") and Decimal(written) == 0)
        return float(plain)

    return json.dumps(json.loads(encoded, parse_float=number), ensure_ascii=False)


@settings(max_examples=300)
@given(data)
@example({"$decimal": "1.0"})
@example({"$escaped": {"$escaped": [["$date", 1]]}})
@example([1e16, 1e-5, -0.0, 5e-324, 1.7976931348623157e308, 0.1])
@example(Decimal("-0E+5"))
@example(datetime(2026, 10, 25, 2, 30, fold=1))
@example(timedelta.min)
def test_data_comes_back_as_it_was(value: Any) -> None:
    assert same(loads(as_jsonb_would(dumps(value, "data"))), value)


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), Decimal("1E+400"), Decimal("0.10")])
def test_decimals_keep_their_text(value: Decimal) -> None:
    assert str(loads(dumps(value, "data"))) == str(value)


class Colour(StrEnum):
    RED = "red"


class Unlisted(Enum):
    ONE = 1


class Odd(Enum):
    SET = frozenset()


class Level(IntEnum):
    HIGH = 3


class Size(Enum):
    SMALL = Decimal("0.5")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ((1, (2,)), [1, [2]]),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Size.SMALL, Decimal("0.5")),
        ([{"nested": Unlisted.ONE}], [{"nested": 1}]),
        (gmtime(0), [1970, 1, 1, 0, 0, 0, 3, 1, 0]),
        (OrderedDict(a=1), {"a": 1}),
        ({Colour.RED: Colour.RED}, {"red": "red"}),
    ],
)
def test_relatives_of_plain_data_come_back_plain(given: Any, stored: Any) -> None:
    assert same(loads(dumps(given, "data")), stored)


zones = st.sampled_from([ZoneInfo(key) for key in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC")])


@given(st.datetimes(datetime(1970, 1, 1), datetime(2037, 1, 1), timezones=zones, allow_imaginary=True))
@example(datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=0))
@example(datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1))
@example(datetime(2026, 3, 29, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1))
def test_a_moment_in_a_named_zone_comes_back_in_its_zone(moment: datetime) -> None:
    back = loads(as_jsonb_would(dumps(moment, "data")))

    assert (back.tzinfo, back.replace(tzinfo=None)) == (moment.tzinfo, moment.replace(tzinfo=None))
    assert back.utcoffset() == moment.utcoffset()


def test_a_day_later_it_is_the_same_hour_on_the_wall_although_summer_has_begun() -> None:
    noon = datetime(2024, 3, 30, 12, tzinfo=ZoneInfo("Europe/Berlin"))

    assert (loads(dumps(noon, "data")) + timedelta(days=1)).utcoffset() == timedelta(hours=2)


def test_a_moment_stored_before_zones_were_kept_comes_back_as_it_was() -> None:
    assert loads('{"$datetime":"2026-07-01T12:00:00+02:00"}').utcoffset() == timedelta(hours=2)


def test_a_release_that_knows_no_zones_refuses_what_has_one() -> None:
    stored = json.loads(dumps(datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")), "data"))

    with pytest.raises(ValueError, match="Invalid isoformat string"):
        datetime.fromisoformat(stored["$datetime"])


def test_a_zone_that_is_not_known_here_is_named_with_the_cure() -> None:
    with pytest.raises(RowDamaged, match=r"in the zone 'Europe/Atlantis', which is not known here: install .* tzdata"):
        loads('{"$datetime":"2026-07-01T12:00:00+02:00[Europe/Atlantis]"}')


def test_a_datetime_is_not_taken_for_a_date() -> None:
    assert type(loads(dumps(datetime(2026, 1, 1), "data"))) is datetime
    assert type(loads(dumps(date(2026, 1, 1), "data"))) is date


# -- refusals


@pytest.mark.parametrize(
    ("culprit", "reason"),
    [
        pytest.param(object(), "builtins.object", id="object()"),
        (b"bytes", "builtins.bytes"),
        ({1, 2}, "builtins.set"),
        (1j, "builtins.complex"),
        (Odd.SET, "builtins.frozenset"),
        (range(3), "builtins.range"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        ("a\x00b", "NUL"),
        ("\ud800", "surrogate"),
        ({1: "one"}, "the key 1"),
        pytest.param({10**5000: "one"}, "the key …", id="a long number"),
        ({None: "one"}, "the key None"),
        ({"a\x00": 1}, "a key of"),
        ({"\udfff": 1}, "a key of"),
        (time(12, tzinfo=ZoneInfo("Europe/Berlin")), "without a date"),
        (datetime(2000, 1, 1, tzinfo=timezone(timedelta(microseconds=1))), "fraction of a second"),
    ],
    ids=repr,
)
def test_a_refusal_names_the_path_and_the_reason(culprit: Any, reason: str) -> None:
    with pytest.raises(PayloadError) as refused:
        dumps({"order": {"lines": [0, {"total": culprit}]}}, "data")

    message = str(refused.value)
    assert "data['order']['lines'][1]['total']" in message
    assert reason in message
    assert "cannot be written" not in message


def test_an_integer_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(PayloadError, match="data"):
        dumps({"a": 10**5000}, "data")


def test_what_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(PayloadError, match="contains itself"):
        dumps(endless, "result of charge")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def from_deep_down(frames: int, call: Callable[[], Any]) -> Any:
    return from_deep_down(frames - 1, call) if frames else call()


def test_what_was_accepted_can_be_read_from_a_deeper_stack() -> None:
    """A start in a script is shallow, a worker's stack is not: the limit may not be the interpreter's."""
    for depth in (50, 98, 300, 450):
        try:
            encoded = dumps(nested(depth), "data")
        except PayloadError:
            continue
        assert from_deep_down(200, lambda encoded=encoded: loads(encoded)) == nested(depth)  # type: ignore[misc]


def test_reasonable_depths_are_accepted() -> None:
    assert loads(dumps(nested(90), "data")) == nested(90)


# -- sizes


def test_text_of_exactly_the_limit_passes() -> None:
    assert len(dumps("x" * 98, "data", limit=100)) == 100

    with pytest.raises(PayloadError, match="takes 101 bytes as JSON; the limit is 100"):
        dumps("x" * 99, "data", limit=100)


def test_sizes_count_bytes_not_characters() -> None:
    with pytest.raises(PayloadError, match="takes 302 bytes"):
        dumps("€" * 100, "data", limit=300)


def test_the_limit_is_a_mebibyte() -> None:
    assert MAX_BYTES == 1024 * 1024
    with pytest.raises(PayloadError, match="result of charge takes"):
        dumps("x" * MAX_BYTES, "result of charge")


def test_what_is_read_is_what_json_says() -> None:
    assert loads('{"at":{"$datetime":"2026-01-01T00:00:00+00:00"}}') == {"at": datetime(2026, 1, 1, tzinfo=UTC)}
    assert loads('{"$uuid":"00000000-0000-0000-0000-000000000001"}') == UUID(int=1)
    assert loads('{"$unknown":1}') == {"$unknown": 1}
