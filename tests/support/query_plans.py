"""Plans of PostgreSQL as `EXPLAIN (ANALYZE, FORMAT JSON)` tells them: what they read, and how much of it."""

from collections.abc import Iterator
from typing import Any


def scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of a plan that read a table or an index."""
    if "Relation Name" in node or "Index Name" in node:
        yield node
    for part in node.get("Plans", ()):
        yield from scans(part)


def read(scan: dict[str, Any]) -> float:
    """How many rows or entries it has looked at."""
    passed_over = scan.get("Rows Removed by Filter", 0) + scan.get("Rows Removed by Index Recheck", 0)
    return float((scan["Actual Rows"] + passed_over) * scan["Actual Loops"])
