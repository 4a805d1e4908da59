"""One DATABASE_URL for the application's async engine and for the library's own blocking connections."""

import pytest

from sagas import ConfigurationError
from sagas.store import normalise_url


def test_an_asyncpg_url_is_taken_for_psycopg2() -> None:
    url = normalise_url("postgresql+asyncpg://me:p%40ss@db:5433/shop?ssl=require&prepared_statement_cache_size=0")

    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.password, url.host, url.port, url.database) == ("me", "p@ss", "db", 5433, "shop")
    assert url.query == {"sslmode": "require"}


def test_hosts_and_sockets_in_the_options_of_an_asyncpg_url_are_kept() -> None:
    assert normalise_url("postgresql+asyncpg:///shop?host=/run/pg&port=5433").query == {
        "host": "/run/pg",
        "port": "5433",
    }
    assert normalise_url("postgresql+asyncpg:///shop?host=a:1&host=b:2").query == {"host": ("a:1", "b:2")}


def test_an_option_that_cannot_be_translated_is_refused_by_name_and_the_password_is_not_told() -> None:
    with pytest.raises(ConfigurationError, match=r"the option 'direct_tls' .* cannot be translated") as refused:
        normalise_url("postgresql+asyncpg://me:secret@db/shop?ssl=require&direct_tls=1")

    assert "secret" not in str(refused.value)
    assert "database='postgresql+psycopg2://" in str(refused.value)


def test_the_async_name_of_psycopg_3_means_the_blocking_one() -> None:
    assert normalise_url("postgresql+psycopg_async://db/shop").drivername == "postgresql+psycopg"
