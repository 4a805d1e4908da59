"""What makes it certain: heartbeats that tell who is alive, the sweep that moves on what is stuck; and retention."""

from sagas.recovery.neighbours import itself, left_in_words, over_the_broker
from sagas.recovery.retention import purge
from sagas.recovery.sweep import sweep
from sagas.recovery.worker import WorkerLife

__all__ = ["WorkerLife", "itself", "left_in_words", "over_the_broker", "purge", "sweep"]
