"""Choreographies that a test declares are forgotten after it, since `check` looks at all of a process."""

from collections.abc import Iterator

import pytest

from sagas.engine import registry


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    known = set(registry._choreographies)
    yield
    for choreography in set(registry._choreographies) - known:
        registry._choreographies.discard(choreography)
