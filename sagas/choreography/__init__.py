"""Declare events and choreographies: participants that react to each other's events. They compile to one plan."""

from sagas.choreography.choreography import Choreography
from sagas.choreography.events import EventType, event, upcast

__all__ = ["Choreography", "EventType", "event", "upcast"]
