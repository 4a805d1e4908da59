"""One DATABASE_URL for the application's async engine and for the library's own blocking connections."""

import sys
from typing import Any

import pytest

from sagas import ConfigurationError, DriverMissing
from sagas.store import Database, normalise_url


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


@pytest.mark.parametrize("given", [None, "", 42, "localhost", "postgresql://me:secret@db:port/shop"])
def test_what_is_no_url_is_refused_with_one_that_is_and_without_the_password(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read as a URL; pass database='postgresql") as refused:
        normalise_url(given)

    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_driver_that_nobody_has_written_is_refused_by_name() -> None:
    with pytest.raises(
        ConfigurationError, match=r"there is no driver 'postgresql\+pyscopg2': use postgresql\+psycopg2"
    ):
        _ = Database("postgresql+pyscopg2://db/shop").engine


@pytest.mark.parametrize(
    ("url", "module", "cure"),
    [
        ("postgresql://db/shop", "psycopg2", "pip install psycopg2-binary"),
        ("postgresql+psycopg://db/shop", "psycopg", r"pip install 'psycopg\[binary\]'"),
    ],
)
def test_a_driver_that_is_not_installed_says_what_to_install(
    url: str, module: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as an import finds it that is not there

    with pytest.raises(DriverMissing, match=cure):
        _ = Database(url).engine
