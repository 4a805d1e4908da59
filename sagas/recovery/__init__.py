"""Recovery: heartbeats show which workers are alive, the sweep moves on stuck sagas, retention purges old ones."""

from sagas.recovery.neighbours import leftover_note, neighbours_on_broker, own_description_of
from sagas.recovery.retention import purge
from sagas.recovery.sweep import sweep
from sagas.recovery.worker import WorkerLife

__all__ = ["WorkerLife", "leftover_note", "neighbours_on_broker", "own_description_of", "purge", "sweep"]
