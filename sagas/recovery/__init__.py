"""What makes it certain: heartbeats that tell who is alive, the sweep that moves on what is stuck; and retention."""

from sagas.recovery.retention import purge
from sagas.recovery.sweep import sweep
from sagas.recovery.worker import WorkerLife

__all__ = ["WorkerLife", "purge", "sweep"]
