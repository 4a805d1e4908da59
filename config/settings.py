"""The application's settings, read from the environment and checked there."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_DRIVER = "postgresql+psycopg2"
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class InvalidSetting(ValueError):
    """An environment variable has an unusable value; the message names it and the cure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The application's settings: every one has a default that fits a developer's machine.

    Attributes:
        database_url: PostgreSQL, for the sagas and for the example services (`SAGAS_DATABASE_URL`).
        broker_url: whatever broker Celery should use (`SAGAS_BROKER_URL`).
        schema: the PostgreSQL schema of the library's tables (`SAGAS_SCHEMA`).
        heartbeat: seconds between two heartbeats of a worker (`SAGAS_HEARTBEAT`).
        sweep_every: seconds between two sweeps for stuck sagas (`SAGAS_SWEEP_EVERY`).
    """

    database_url: str = f"{_DRIVER}://sagas:sagas@localhost:5432/sagas"
    broker_url: str = "redis://localhost:6379/0"
    schema: str = "sagas"
    heartbeat: float = 2.0
    sweep_every: float = 2.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Return the settings of this process; a variable that is unset or empty means its default.

        Raises:
            InvalidSetting: a variable holds an unusable value.
        """
        return cls(
            database_url=_database_url("SAGAS_DATABASE_URL", environ, cls().database_url),
            broker_url=_broker_url("SAGAS_BROKER_URL", environ, cls().broker_url),
            schema=_schema("SAGAS_SCHEMA", environ, cls().schema),
            heartbeat=_seconds("SAGAS_HEARTBEAT", environ, cls().heartbeat),
            sweep_every=_seconds("SAGAS_SWEEP_EVERY", environ, cls().sweep_every),
        )


def _database_url(name: str, environ: Mapping[str, str], default: str) -> str:
    scheme, separator, rest = (environ.get(name) or default).partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgres", "postgresql"):
        # Only the scheme is quoted: the rest of the URL may hold a password.
        raise InvalidSetting(
            f"{name} must point to PostgreSQL, not {scheme.partition(':')[0]!r}: "
            f"set it to {_DRIVER}://user:password@host:5432/database"
        )
    # A bare postgresql:// means another driver from one SQLAlchemy to the next, so the driver is always
    # named.
    return f"{_DRIVER if '+' not in scheme else scheme}://{rest}"


def _broker_url(name: str, environ: Mapping[str, str], default: str) -> str:
    value = environ.get(name) or default
    if not re.match(r"[a-z][a-z0-9+]*://", value):
        raise InvalidSetting(
            f"{name} must be a broker's URL with its scheme: set it to redis://host:6379/0 or amqp://host//"
        )
    return value


def _schema(name: str, environ: Mapping[str, str], default: str) -> str:
    value = environ.get(name) or default
    if not _IDENTIFIER.fullmatch(value):
        raise InvalidSetting(
            f"{name} must be a plain PostgreSQL name, not {value!r}: "
            f"use lower-case letters, digits and underscores, as in {default!r}"
        )
    return value


def _seconds(name: str, environ: Mapping[str, str], default: float) -> float:
    value = environ.get(name) or default
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise InvalidSetting(f"{name} must be seconds above zero, not {value!r}: set it to a number as in {default}")
    return seconds
