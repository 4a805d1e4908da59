"""Sagas in a Django project: add ``"sagas.contrib.django"`` to ``INSTALLED_APPS`` and a dict ``SAGAS`` to the settings.

``from sagas.contrib.django import sagas`` is the project's `Sagas`: ``sagas.get(id)``, ``sagas.find(saga=…, key=…)``.
"""

from typing import TYPE_CHECKING, Any

from sagas.contrib.django.events import event_stream

if TYPE_CHECKING:
    from sagas.extension import Sagas

    sagas: Sagas

__all__ = ["event_stream", "sagas"]


def __getattr__(name: str) -> Any:
    # Only when it is asked for: this package is imported before Django has loaded its apps.
    if name == "sagas":
        from sagas.contrib.django.binding import bound

        return bound()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
