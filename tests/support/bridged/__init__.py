"""Two services with a bridge between them: `sale` sells, and `till` books what was sold."""

import os

#: The broker between the two; the test's own process sends and receives nothing by it.
BROKER = os.environ.get("SAGAS_TEST_BRIDGE", "memory://")
KEYS = ["the-first-key-of-both-services-which-is-secret", "the-key-that-it-replaces-and-that-is-still-accepted"]
