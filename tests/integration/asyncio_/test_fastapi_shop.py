"""The example shop in FastAPI: nobody is told "placed" of an order that then fails to commit."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, text

from config.servers import EmbeddedBroker, EmbeddedPostgres, drop_database
from tests.conftest import GivenPostgres, empty_keyspace
from tests.support.shops import Browser, ShopServer, make_tables, serving

#: Commits of a cursed article fail: at the very end, as a deferred constraint does.
CURSE = """
CREATE FUNCTION curse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'cursed'; END $$;
CREATE CONSTRAINT TRIGGER cursed AFTER INSERT ON shop_order DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.sku = 'cursed') EXECUTE FUNCTION curse();
"""


@pytest.fixture(scope="module")
def engine(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[Engine]:
    name = f"test_{uuid4().hex}"
    engine = create_engine(postgres.create_database(name))
    make_tables("fastapi", engine.url.render_as_string(hide_password=False))
    with engine.begin() as connection:
        connection.execute(text(CURSE))
    yield engine
    engine.dispose()
    drop_database(postgres.url, name)


@pytest.fixture(scope="module")
def browser(engine: Engine, broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    url = engine.url.render_as_string(hide_password=False)
    server = ShopServer("fastapi", url, empty_keyspace(broker), tmp_path_factory.mktemp("fastapi"))
    with serving(server), server.browser() as browser:
        yield browser


def place(browser: Browser, address: str, **order: str) -> tuple[int, dict[str, str]]:
    answer = browser.post(address, json={"sku": "pen", "quantity": 2, "total": "9.90"} | order)
    return answer.status_code, answer.json() if answer.is_success else {}


def rows(engine: Engine) -> tuple[int, int]:
    """Orders, and sagas."""
    with engine.connect() as connection:
        counts = (
            connection.scalar(text(f"SELECT count(*) FROM {name}")) for name in ("shop_order", "sagas.saga_instance")
        )
        return next(counts), next(counts)


@pytest.mark.parametrize("address", ["/orders", "/orders/sync"])
def test_an_order_whose_commit_fails_is_not_placed_and_nobody_is_told_so(
    browser: Browser, engine: Engine, address: str
) -> None:
    before = rows(engine)
    assert place(browser, address, sku="cursed")[0] == 500
    assert rows(engine) == before

    assert place(browser, address)[0] == 201
    assert rows(engine) == (before[0] + 1, before[1] + 1)


def test_it_is_one_saga_whichever_session_the_view_has(browser: Browser, engine: Engine) -> None:
    order_id = uuid4().hex
    before = rows(engine)
    first = place(browser, "/orders/sync", order_id=order_id)
    second = place(browser, "/orders", order_id=order_id)

    assert (first[0], second[0]) == (201, 200)
    assert first[1] == second[1]
    assert rows(engine) == (before[0] + 1, before[1] + 1)
