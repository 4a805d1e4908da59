"""`docs/schema.sql` tells what the migrations make: no less, no more, and nothing else."""

from typing import Any

import pytest

from config.servers import EmbeddedPostgres
from tests.conftest import GivenPostgres
from tests.support import journal
from tests.support.bench import Bench
from tests.support.workers import ROOT

WRITTEN = ROOT / "docs" / "schema.sql"
#: Columns may stand in another order: migrations can only add them at the end.
CATALOGS = {
    "tables": """
        SELECT relname, relkind, relpersistence, reloptions FROM pg_class
        WHERE relnamespace = 'sagas'::regnamespace AND relkind IN ('r', 'S', 'v', 'm')""",
    "columns": """
        SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
               pg_get_expr(adbin, adrelid)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON (adrelid, adnum) = (c.oid, attnum)
        WHERE relnamespace = 'sagas'::regnamespace AND attnum > 0 AND relkind = 'r' AND NOT attisdropped""",
    "constraints": """
        SELECT conname, conrelid::regclass::text, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'sagas'::regnamespace""",
    "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'sagas'",
    "triggers": """
        SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
        WHERE relnamespace = 'sagas'::regnamespace AND NOT tgisinternal""",
    "functions": "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'sagas'::regnamespace",
}


@pytest.fixture(scope="module")
def written_url(postgres: EmbeddedPostgres | GivenPostgres) -> str:
    """A database that was made from the file."""
    url = postgres.create_database("as_it_is_written")
    journal.query(url, WRITTEN.read_text())
    return url


@pytest.mark.parametrize("catalog", CATALOGS)
def test_the_file_is_what_the_migrations_make(bench: Bench, written_url: str, catalog: str) -> None:
    def told(url: str) -> list[str]:
        rows: list[tuple[Any, ...]] = journal.query(url, CATALOGS[catalog])
        return sorted(
            "  ".join(" ".join(str(value).split()) for value in row).replace('"sagas"', "sagas") for row in rows
        )

    assert told(written_url) == told(bench.url)
    assert told(bench.url)
