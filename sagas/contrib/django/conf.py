"""``settings.SAGAS``: read and checked when it is needed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from django.conf import settings
from django.db import connections

from sagas.engine import CONTROL_QUEUE
from sagas.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """What ``settings.SAGAS`` may hold; everything has a default.

    Attributes:
        app: where the Celery app is, as in ``"shop.celery:app"``; by default the one that is current.
        database: the alias in ``settings.DATABASES`` where the library's tables live. A saga commits together with
            the business rows of this database.
        schema: the PostgreSQL schema of the library's tables.
        heartbeat: seconds between two heartbeats of a worker.
        sweep_every: seconds between two sweeps.
        parked_after: seconds that a step may wait which cannot be called, before it waits for a person.
        secrets: names of fields of the data that nobody may see (see `Sagas`).
        codec: what encrypts them where they are stored, or where it is, as in ``"shop.vault:codec"``.
        keys: instead of a codec: Fernet keys, the newest first, of which each decrypts what it has encrypted.
        headers: names of headers that are kept although they look like tokens; None keeps no header (see `Sagas`).
        control_queue: where error callbacks, sweeps and purges go; of this app alone.
        step_results: True gives steps rows in django-celery-results, as other tasks have them.
    """

    app: str | None = None
    database: str = "default"
    schema: str = "sagas"
    heartbeat: float = 2.0
    sweep_every: float = 2.0
    parked_after: float = 300.0
    secrets: Sequence[str] = ()
    codec: Any = field(default=None, repr=False)
    keys: Sequence[str | bytes] | None = field(default=None, repr=False)
    headers: Sequence[str] | None = ()
    control_queue: str = CONTROL_QUEUE
    step_results: bool = False


def configuration() -> Configuration:
    """The project's configuration.

    Raises:
        ConfigurationError: ``settings.SAGAS`` is no dict, or has a key that nobody reads, or an unknown database.
    """
    given: Any = getattr(settings, "SAGAS", {})
    if not isinstance(given, dict):
        raise ConfigurationError(f"settings.SAGAS must be a dict, not a {type(given).__qualname__}")
    known = {each.name.upper(): each.name for each in fields(Configuration)}
    for name in given:
        if name not in known:
            raise ConfigurationError(f"settings.SAGAS has no {name!r}; there are {', '.join(sorted(known))}")
    found = Configuration(**{known[name]: value for name, value in given.items()})
    if found.database not in list(connections):
        raise ConfigurationError(
            f"settings.SAGAS['DATABASE'] is {found.database!r}, which settings.DATABASES does not have: name one of "
            f"{', '.join(map(repr, connections))}"
        )
    return found
