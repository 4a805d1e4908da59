"""An instance at one moment, as a handle shows it."""

from sagas.handle.timeline import timeline
from sagas.handle.views import InstanceView


class Snapshot(InstanceView):
    """An instance as one look found it, and as text."""

    def timeline(self) -> str:
        """Return text for people: the instance's identity, the status of each step, and what happened when."""
        return timeline(self)
