"""For an application's own tests: sagas that run in the test's process and thread, without a broker or a worker."""

from sagas.testing.failing import fail_everywhere
from sagas.testing.inline import Inline, inline

__all__ = ["Inline", "fail_everywhere", "inline"]
