"""Fixtures of the fault tests, and their options.

    pytest tests/faults                               two rounds of each random kill, as CI does
    pytest tests/faults -k kills --rounds 20          the full demand
    pytest tests/faults -k kills --seed 4711          the same stories, victims and moments again
    pytest tests/faults --inline                      the same, and no saga needs a message a step
    pytest tests/faults/boundaries --every-boundary --rabbitmq      death at every passage of every point
    pytest tests/faults/shops --outage 30             the full demand: 200 orders in each shop without a broker

A seed repeats what the dice decided (which orders are refused, which step is killed, how far into it), not the
scheduling of the machine. Every test prints its seed; pytest shows that when it fails.
"""

import os
import random
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tasks.services.database import engine
from tests.faults.order_shop import OrderShop, make_order_shop
from tests.faults.results_table import HEADER, FaultResults
from tests.support.workers import ALL_INLINE

ROUNDS = 2
ALL_RESULTS: pytest.StashKey[list[FaultResults]] = pytest.StashKey()
SEED: pytest.StashKey[int] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--rounds", type=int, default=ROUNDS, help=f"how often each random kill strikes ({ROUNDS})")
    group.addoption("--outage", type=float, default=8.0, help="seconds without a broker while customers order (8)")
    group.addoption("--inline", action="store_true", help="every saga goes on inline, whatever it says")
    group.addoption("--seed", type=int, default=None, help="what the dice of the fault tests start from")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("inline", default=False):
        os.environ[ALL_INLINE] = "1"  # for workers
        import_module("tests.support.all_inline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    all_results = config.stash.get(ALL_RESULTS, [])
    if all_results:
        terminalreporter.section(f"kills (seed {config.stash[SEED]})")
        terminalreporter.write_line(HEADER)
        for results in all_results:
            terminalreporter.write_line(results.row())


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    # Named without its dashes: as a part of a larger run this conftest comes too late to add an option.
    return int(request.config.getoption("rounds", default=ROUNDS))


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """The test's random numbers, repeatable by `--seed`."""
    stash = request.config.stash
    if SEED not in stash:
        given = request.config.getoption("seed", default=None)
        stash[SEED] = random.randrange(1_000_000) if given is None else given
    print(f"--seed {stash[SEED]}")
    return random.Random(f"{stash[SEED]} {request.node.name}")


@pytest.fixture
def make_results(request: pytest.FixtureRequest) -> Callable[[str], FaultResults]:
    """Make the results of a fault, which are printed at the end of the run."""

    def make(fault: str) -> FaultResults:
        made = FaultResults(fault)
        request.config.stash.setdefault(ALL_RESULTS, []).append(made)
        return made

    return make


@pytest.fixture
def make_orders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str, float, float], OrderShop]]:
    """Makes the order shop on given servers with given timings."""
    made: list[OrderShop] = []

    def make(database_url: str, broker_url: str, heartbeat: float, sweep_every: float) -> OrderShop:
        monkeypatch.setenv("SAGAS_DATABASE_URL", database_url)
        made.append(make_order_shop(database_url, broker_url, tmp_path, heartbeat=heartbeat, sweep_every=sweep_every))
        return made[-1]

    yield make
    if made:
        engine().dispose()
    for shop in made:
        shop.sagas.engine.store.database.dispose()


@pytest.fixture
def orders(make_orders: Any, database_url: str, broker_url: str) -> OrderShop:
    """The order shop with quick heartbeats and sweeps, so that recovery is not waited for."""
    shop: OrderShop = make_orders(database_url, broker_url, 0.5, 0.5)
    return shop


@pytest.fixture
def default_orders(make_orders: Any, database_url: str, broker_url: str) -> OrderShop:
    """The order shop with the library's own timings: a heartbeat and a sweep every two seconds."""
    shop: OrderShop = make_orders(database_url, broker_url, 2.0, 2.0)
    return shop
