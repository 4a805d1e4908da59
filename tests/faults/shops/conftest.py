"""The shops of the fault tests: three web processes and a broker that may be killed, shared by these tests."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url

from config.examples.shops import SHOPS
from config.servers import EmbeddedBroker, drop_database
from tests.conftest import EmbeddedPostgres, GivenPostgres
from tests.faults.shops.customers import HEADER, Answer, row
from tests.faults.shops.three_shops import side_by_side
from tests.support.shops import ShopServer, make_tables

#: How long the broker is away by default, in seconds.
OUTAGE = 8.0
LINES: pytest.StashKey[list[str]] = pytest.StashKey()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if lines := config.stash.get(LINES, []):
        terminalreporter.section("customers of three shops (times of requests in ms)")
        terminalreporter.write_line(HEADER)
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str, Mapping[str, Sequence[Answer]]], None]:
    """Notes how the customers of each shop were served; printed at the end of the run."""

    def note(broker: str, answers: Mapping[str, Sequence[Answer]]) -> None:
        lines = request.config.stash.setdefault(LINES, [])
        lines += [row(shop, broker, given) for shop, given in answers.items()]

    return note


@pytest.fixture
def recovered(request: pytest.FixtureRequest) -> Callable[[str, Mapping[str, float]], None]:
    """Notes when each shop's last saga ended; printed at the end of the run."""

    def note(moment: str, seconds: Mapping[str, float]) -> None:
        told = ", ".join(f"{shop} {after:.1f} s" for shop, after in seconds.items())
        request.config.stash.setdefault(LINES, []).append(f"last saga's end after {moment}: {told}")

    return note


@pytest.fixture
def outage(request: pytest.FixtureRequest) -> float:
    """How long the broker is away, in seconds."""
    return float(request.config.getoption("outage", default=OUTAGE))


@pytest.fixture(scope="package")
def mortal_broker() -> Iterator[EmbeddedBroker]:
    """A broker of these tests' own, that forgets everything when it is killed."""
    with EmbeddedBroker(persistent=False) as server:
        yield server


@pytest.fixture(scope="package")
def three_shops(
    postgres: EmbeddedPostgres | GivenPostgres, mortal_broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, ShopServer]]:
    """The open shops by framework, each with a keyspace and a database of its own, without workers."""

    def shop(number: int, framework: str) -> ShopServer:
        return ShopServer(
            framework,
            postgres.create_database(f"test_{uuid4().hex}"),
            mortal_broker.url_of(number),
            tmp_path_factory.mktemp(framework),
            entry=f"tests.faults.shops.watched:{framework}",
        )

    def open_up(shop: ShopServer) -> None:
        make_tables(shop.framework, shop.database_url)
        shop.start()

    shops = {name: shop(number, name) for number, name in enumerate(SHOPS) if find_spec(SHOPS[name].celery)}
    try:
        side_by_side(open_up, shops.values())
        yield shops
    finally:
        side_by_side(ShopServer.kill, shops.values())
        for closed in shops.values():
            drop_database(postgres.url, str(make_url(closed.database_url).database))
