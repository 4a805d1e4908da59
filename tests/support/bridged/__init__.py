"""Two services with a bridge between them: `sale` sells, and `till` books what was sold."""

import os
from functools import partial
from typing import Any

from tests.support.bridged import stream

#: The broker between the two; the test's own process sends and receives nothing by it.
BROKER = os.environ.get("SAGAS_TEST_BRIDGE", "memory://")
KEYS = ["the-first-key-of-both-services-which-is-secret", "the-key-that-it-replaces-and-that-is-still-accepted"]


def way(here: str, there: str) -> dict[str, Any]:
    """Return how messages go: by a broker of kombu's, or by a function that publishes into a stream."""
    if stream.is_meant(BROKER):
        return {"publish": partial(stream.hand_over, BROKER, stream.name(here, there))}
    return {"broker": BROKER}
