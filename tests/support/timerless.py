"""The application as its workers run it when nothing but beat sweeps: their own timers are switched off."""

from sagas.recovery import worker
from sagas.recovery.sweep import Sweeper
from tests.support.application import app, sagas

__all__ = ["app", "sagas"]


class Idle(Sweeper):
    """Makes no pass."""

    def run(self, budget: float) -> int:
        return 0


worker.Sweeper = Idle  # type: ignore[misc]
sagas._life._filler.fill = lambda patience=0.0: 0  # type: ignore[method-assign]
