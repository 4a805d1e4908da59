"""Rows made of one row, in numbers that no test could start."""

from typing import Any

from tests.support import journal

#: The columns with which a row is inserted: the others are generated from these.
COLUMNS = """SELECT column_name FROM information_schema.columns
    WHERE table_schema = 'sagas' AND table_name = %s AND is_generated = 'NEVER'"""


def copy_rows(url: str, table: str, many: int, changes: str, where: str = "true", *parameters: Any) -> None:
    """Insert so many copies of each row.

    Args:
        changes: their differences as a jsonb object: an expression of the row `one` and of `number`.
        where: the condition on the rows; with parameters.
    """
    columns = [name for (name,) in journal.query(url, COLUMNS, table)]
    journal.query(
        url,
        f"INSERT INTO sagas.{table} ({', '.join(columns)}) SELECT {', '.join(f'copy.{name}' for name in columns)} "
        f"FROM sagas.{table} AS one, generate_series(1, {many}) AS number, "
        f"LATERAL jsonb_populate_record(one, {changes}) AS copy WHERE {where}",
        *parameters,
    )
