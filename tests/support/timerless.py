"""The application as its workers run it when nothing but beat sweeps: their own timers are switched off."""

from tests.support.application import app, sagas

__all__ = ["app", "sagas"]

sagas._life._sweep = lambda: None  # type: ignore[method-assign]
