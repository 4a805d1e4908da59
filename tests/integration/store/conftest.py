"""A store of its own for each test, on a real PostgreSQL."""

from collections.abc import Iterator

import pytest

from tests.support.bench import Bench, bench_on


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    with bench_on(database_url) as made:
        yield made
