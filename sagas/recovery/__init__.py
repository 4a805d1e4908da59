"""Recovery: heartbeats show which workers are alive, the sweep moves on stuck sagas, retention purges old ones."""

from sagas.recovery.neighbours import itself, left_in_words, over_the_broker
from sagas.recovery.retention import purge
from sagas.recovery.sweep import sweep
from sagas.recovery.worker import WorkerLife

__all__ = ["WorkerLife", "itself", "left_in_words", "over_the_broker", "purge", "sweep"]
