"""M13: PgBouncer in transaction mode gives every transaction another session, so none of its state may be relied on."""

import re
from types import ModuleType

import pytest

from sagas.store import listing_statements, loop_statements, neighbour_statements, statements, sweep_statements

STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": value
    for module in (listing_statements, loop_statements, statements, sweep_statements, neighbour_statements)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}


def test_the_named_statements_are_found() -> None:
    modules: list[ModuleType] = [statements, sweep_statements, neighbour_statements]
    assert len(STATEMENTS) > 30
    assert all(any(name.startswith(module.__name__.rpartition(".")[2]) for name in STATEMENTS) for module in modules)


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_m13_no_statement_leaves_anything_in_its_session(statement: str) -> None:
    settings = re.findall(r"set_config\([^()]*?(true|false)\s*\)", statement)

    assert set(settings) <= {"true"}, "a setting that outlives its transaction"
    assert not re.search(r"\bSET\s+(SESSION\b|\w+\s*=)", re.sub(r"UPDATE.*", "", statement, flags=re.DOTALL))
    assert not re.search(r"pg_(try_)?advisory_lock\b", statement), "a lock that outlives its transaction"
    assert not re.search(r"\b(LISTEN|PREPARE|DECLARE|TEMP(ORARY)?)\b", statement)
