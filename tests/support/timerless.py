"""The application with workers whose timers are switched off, so that only beat sweeps."""

from sagas.recovery import worker
from sagas.recovery.sweep import Sweeper
from tests.support.application import app, sagas

__all__ = ["app", "sagas"]


class Idle(Sweeper):
    """A sweeper that makes no pass."""

    def run(self, budget: float) -> int:
        return 0


worker.Sweeper = Idle  # type: ignore[misc]
sagas._life._filler.fill = lambda patience=0.0: 0  # type: ignore[method-assign]
