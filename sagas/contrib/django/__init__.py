"""Sagas in a Django project: add ``"sagas.contrib.django"`` to ``INSTALLED_APPS`` and a dict ``SAGAS`` to the settings.

``from sagas.contrib.django import sagas`` is the project's `Sagas`: ``sagas.get(id)``, ``sagas.find(saga=…, key=…)``.
"""

from sagas.contrib.django.binding import sagas
from sagas.contrib.django.events import event_stream

__all__ = ["event_stream", "sagas"]
