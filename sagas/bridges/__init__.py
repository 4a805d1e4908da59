"""Bridges: events leave for another service, with a database and a broker of its own, and come from it."""

from sagas.bridges.bridge import Bridge, bridge_named, bridges
from sagas.bridges.station import Station

__all__ = ["Bridge", "Station", "bridge_named", "bridges"]
