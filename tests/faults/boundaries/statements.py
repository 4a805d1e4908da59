"""The names of the library's SQL statements, read off its source, so that a new one cannot be forgotten.

A statement that `sagas.store` names has its name; one that SQLAlchemy builds is called by what it does to which
table, as in ``INSERT saga_instance``.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import sagas.store
from sagas.store import delivery_statements, listing_statements, loop_statements, quote, run_statements, statements
from sagas.store.database import BEGIN
from sagas.store.prepared import Prepared

STORE = Path(sagas.store.__file__).parent
#: Parts of other statements, never sent by themselves.
FRAGMENTS = frozenset(
    {
        "BEFORE_DEADLINE",
        "CORRELATION",
        "DEADLINE",
        "HAS_ALARMS",
        "HAS_LINE",
        "HOLDER",
        "IS_EARLY_TOO_LONG",
        "LEASE_HELD",
        "LINE_OF",
        "PAYLOAD",
        "RECORDED",
        "TAKEN",
        "UNCLAIMED",
        "UNLESS_SYNCED",
        "_ARE_DEAD",
        "_ARE_UNDELIVERED",
        "_ARRIVED",
        "_EXECUTIONS",
        "_LOCKED",
    }
)
#: A list puts its statement together of these.
PARTS = frozenset(vars(listing_statements))
#: What SQLAlchemy builds, by the function that builds it.
BUILDERS = {"insert": "INSERT", "update": "UPDATE", "delete": "DELETE", "select": "SELECT"}
#: The migrations' own, which a test of theirs covers (`tests/integration/store`): nothing is in flight then.
NOT_OURS = ("migrations",)

PARAMETER = re.compile(r"%\(\w+\)s|(?<!:):[a-z_]\w*")
#: Those that a message has. It is called by the first, or by one that is more than the lock before it.
EXECUTED = re.compile(r"(?:^|; )EXECUTE (sagas_[0-9a-f]{16}) \(")
AFTER_THEIR_LOCK = frozenset(vars(delivery_statements))
TABLE = re.compile(r"\b(?:INTO|FROM|UPDATE) (?:\w+\.)?(\w+)")


@cache
def named() -> dict[str, str]:
    """Every named statement, by its text as the driver gets it."""
    modules = [import_module(f"sagas.store.{path.stem}") for path in sorted(STORE.glob("*statements.py"))]
    return {
        normal(template.replace("{s}", quote("sagas"))): name
        for module in modules
        for name, template in vars(module).items()
        if name.isupper() and isinstance(template, str) and name not in FRAGMENTS | PARTS
    }


@cache
def built() -> frozenset[str]:
    """Every kind of statement that the store has SQLAlchemy build, and the literal ones in its code."""
    found: set[str] = set()
    for path in sorted(STORE.rglob("*.py")):
        if not set(path.parts) & set(NOT_OURS):
            found |= set(_built_in(ast.parse(path.read_text())))
    return frozenset(found)


@cache
def prepared() -> dict[str, str]:
    """The hot statements, by the names under which sessions know them."""
    return {
        Prepared(template.replace("{s}", quote("sagas"))).name: name
        for module in (statements, loop_statements, run_statements, delivery_statements)
        for name, template in vars(module).items()
        if name.isupper() and isinstance(template, str)
    }


def only_tells(statement: str) -> bool:
    """Whether it only tells its session what will be executed by name, or that more follows: nothing is done by it."""
    return statement == BEGIN or statement.startswith("PREPARE ")


def name_of(statement: str) -> str:
    """What a statement that was sent is called."""
    by_name = [prepared()[name] for name in EXECUTED.findall(statement)]
    if by_name:
        return by_name[-1] if by_name[-1] in AFTER_THEIR_LOCK else by_name[0]
    text = normal(statement)
    for part in (text, text.rpartition("; ")[2]):
        if part in named():
            return named()[part]
    table = TABLE.search(text)
    return f"{text.split(' ', 1)[0]} {table[1]}" if table else _literal(text)


def normal(statement: str) -> str:
    """Without its layout and its manner of parameters."""
    return " ".join(PARAMETER.sub("?", statement.replace("%%", "%")).split())


def _literal(text: str) -> str:
    return " ".join(re.findall(r"[A-Z]+", text)[:2])


def _built_in(tree: ast.Module) -> Iterator[str]:
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        assigned = _assigned(function)
        for call in [node for node in ast.walk(function) if isinstance(node, ast.Call)]:
            if not isinstance(call.func, ast.Name) or not call.args:
                continue
            if call.func.id in BUILDERS:
                tables = set(_tables(call.args[0], assigned))
                assert tables, f"which table is {ast.unparse(call)} about?"
                yield from (f"{BUILDERS[call.func.id]} saga_{table}" for table in tables)
            elif call.func.id == "text" and isinstance(call.args[0], ast.Constant):
                yield _literal(str(call.args[0].value))


def _assigned(function: ast.FunctionDef) -> dict[str, ast.expr]:
    """What each of a function's names stands for; of a loop's it is what the loop is over."""
    assigned: dict[str, ast.expr] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.comprehension | ast.For):
            target, value = node.target, node.iter
        elif isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
        else:
            continue
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = zip(target.elts, value.elts, strict=True)
            assigned |= {name.id: it for name, it in pairs if isinstance(name, ast.Name)}
        elif isinstance(target, ast.Name):
            assigned[target.id] = value
    return assigned


def _tables(expression: ast.expr, assigned: dict[str, ast.expr]) -> Iterator[str]:
    """The attributes of the store's `Tables` that an expression, or what its names stand for, is about."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self._tables", *_aliases(assigned)):
            yield node.attr
        elif isinstance(node, ast.Name) and node.id in assigned:
            yield from _tables(assigned[node.id], {name: it for name, it in assigned.items() if name != node.id})


def _aliases(assigned: dict[str, ast.expr]) -> list[str]:
    return [name for name, value in assigned.items() if ast.unparse(value) == "self._tables"]
