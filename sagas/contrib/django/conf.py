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
    """The keys of ``settings.SAGAS``; all have defaults.

    Attributes:
        app: the path of the Celery app, as in ``"shop.celery:app"``; by default the current one.
        database: the alias in ``settings.DATABASES`` of the library's tables. A saga commits together with the business
            rows of this database.
        schema: the PostgreSQL schema of the library's tables.
        heartbeat: seconds between two heartbeats of a worker.
        sweep_every: seconds between two sweeps.
        parked_after: seconds that a step which cannot be called may wait, before it waits for a person.
        secrets: names of secret fields of the data (see `Sagas`).
        codec: the codec that encrypts them where they are stored, or its path, as in ``"shop.vault:codec"``.
        keys: instead of a codec: Fernet keys, newest first; each decrypts what it has encrypted.
        headers: names of headers that are kept although they look like tokens; None keeps no header (see `Sagas`).
        control_queue: the queue of error callbacks, sweeps and purges; for this app alone.
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
    """Return the project's configuration.

    Raises:
        ConfigurationError: ``settings.SAGAS`` is not a dict, or has an unknown key or database.
    """
    given: Any = getattr(settings, "SAGAS", {})
    if not isinstance(given, dict):
        raise ConfigurationError(f"settings.SAGAS must be a dict, not a {type(given).__qualname__}")
    known = {each.name.upper(): each.name for each in fields(Configuration)}
    for name in given:
        if name not in known:
            raise ConfigurationError(f"settings.SAGAS has no key {name!r}; the keys are {', '.join(sorted(known))}")
    found = Configuration(**{known[name]: value for name, value in given.items()})
    if found.database not in list(connections):
        raise ConfigurationError(
            f"settings.SAGAS['DATABASE'] is {found.database!r}, which settings.DATABASES does not have: name one of "
            f"{', '.join(map(repr, connections))}"
        )
    return found
