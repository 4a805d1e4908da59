"""The database URLs that are accepted, and what they mean for the library's own blocking connections."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from sagas.errors import ConfigurationError, DriverMissing

#: A URL, or a callable that returns it at each use: a framework's tests change their database at run time.
DatabaseUrl = str | URL | Callable[[], str | URL]

CURE = "pass database='postgresql+psycopg2://user:password@host:5432/name'"
#: psycopg2's names of the options of an asyncpg URL; None: an option that only tunes asyncpg.
ASYNCPG_OPTIONS = {
    "host": "host",
    "port": "port",
    "passfile": "passfile",
    "ssl": "sslmode",
    "target_session_attrs": "target_session_attrs",
    "timeout": None,
    "command_timeout": None,
    "statement_cache_size": None,
    "max_cached_statement_lifetime": None,
    "max_cacheable_statement_size": None,
    "prepared_statement_cache_size": None,
    "prepared_statement_name_func": None,
}


def normalise_url(database: str | URL) -> URL:
    """Read ``postgres://`` and ``postgresql://`` as psycopg2 (SQLAlchemy 2.1 would take psycopg 3).

    The same holds for ``postgresql+asyncpg://``: most applications have one URL, which may be for an async engine.

    Raises:
        ConfigurationError: it is not the URL of a PostgreSQL database, or has an option that psycopg2 lacks.
    """
    try:
        url = make_url(database.replace("postgres://", "postgresql://", 1) if isinstance(database, str) else database)
    except (ArgumentError, ValueError):  # the latter for a port that is not a number
        given = "the database URL" if isinstance(database, str) and database else f"database={database!r}"
        # Without the URL and the original error, which may quote its password.
        raise ConfigurationError(f"{given} cannot be read as a URL; {CURE}") from None
    if url.get_backend_name() != "postgresql":
        raise ConfigurationError(f"sagas need PostgreSQL, not {url.get_backend_name()!r}; {CURE}")
    match url.get_driver_name() if "+" in url.drivername else "":
        case "":
            return url.set(drivername="postgresql+psycopg2")
        case "asyncpg":
            return _from_asyncpg(url)
        case "psycopg_async":
            return url.set(drivername="postgresql+psycopg")
        case _:
            return url


@contextmanager
def driver_of(url: URL) -> Iterator[None]:
    """Raise an error that says what to install if a driver is missing."""
    try:
        yield
    except NoSuchModuleError as error:
        raise ConfigurationError(
            f"there is no driver {url.drivername!r}: use postgresql+psycopg2:// or postgresql+psycopg://"
        ) from error
    except ImportError as error:
        package = "'psycopg[binary]'" if url.get_driver_name() == "psycopg" else "psycopg2-binary"
        raise DriverMissing(
            f"the driver of {url.drivername}:// cannot be imported ({error}): run `pip install {package}`, or name the "
            "driver that you have: postgresql+psycopg2:// or postgresql+psycopg://"
        ) from error


def _from_asyncpg(url: URL) -> URL:
    for option in url.query:
        if option not in ASYNCPG_OPTIONS:
            raise ConfigurationError(
                f"the option {option!r} of the postgresql+asyncpg:// URL cannot be translated for psycopg2, which the "
                f"library's own connections use: give the library a URL of its own; {CURE}"
            )
    query = {name: value for option, value in url.query.items() if (name := ASYNCPG_OPTIONS[option]) is not None}
    return url.set(drivername="postgresql+psycopg2", query=query)
