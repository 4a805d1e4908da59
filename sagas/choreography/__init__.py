"""Declare events and choreographies: participants that react to each other's events. They compile to one plan."""

from sagas.choreography.catalogue import CatalogueEntry, Events
from sagas.choreography.choreography import Choreography
from sagas.choreography.events import EventType, event, upcast
from sagas.choreography.starters import add_starting_tasks

__all__ = ["CatalogueEntry", "Choreography", "EventType", "Events", "add_starting_tasks", "event", "upcast"]
