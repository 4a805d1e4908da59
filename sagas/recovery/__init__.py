"""What makes it certain: heartbeats that tell who is alive, and the sweep that moves on what is stuck."""

from sagas.recovery.sweep import sweep
from sagas.recovery.worker import WorkerLife

__all__ = ["WorkerLife", "sweep"]
