"""The arithmetic of the tables, and how figures are written."""

import pytest

from tests.benchmarks.table import Table, median, median_ratio, percentile, ratio, written


def test_a_median_leaves_out_what_was_not_measured() -> None:
    assert median([3.0, None, 1.0, 10.0]) == 3.0
    assert median([None]) is None


def test_a_ratio_without_a_base_is_missing() -> None:
    assert ratio(3.0, 2.0) == 1.5
    assert ratio(3.0, 0.0) is None
    assert ratio(3.0, None) is None
    assert ratio(None, 2.0) is None


def test_ratios_are_those_of_pairs_and_not_of_medians() -> None:
    # In the second round the machine was ten times slower for both.
    assert median_ratio([50.0, 5.0, 60.0], [100.0, 10.0, 100.0]) == 0.5


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.5) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.384, "0.38"), (12.34, "12.3"), (1234.5, "1,234"), (1000, "1,000"), ("20 of 20", "20 of 20")],
)
def test_a_figure_has_three_digits_that_count(value: float | str | None, text: str) -> None:
    assert written(value) == text


def test_a_table_is_markdown_with_aligned_columns_without_those_that_are_empty() -> None:
    table = Table("Two", ("what", "sagas/s", "never measured"), notes=["A note."])
    table.add_row({"what": "bare chain", "sagas/s": 220.0})
    table.add_row({"what": "ours"})
    assert str(table).splitlines() == [
        "## Two",
        "",
        "| what       | sagas/s |",
        "|------------|--------:|",
        "| bare chain |     220 |",
        "| ours       |       – |",
        "",
        "A note.",
    ]


def test_a_table_refuses_a_column_that_it_does_not_have() -> None:
    with pytest.raises(ValueError, match="Two: there is no column saga/s"):
        Table("Two", ("what", "sagas/s")).add_row({"saga/s": 1.0})
