"""Fixtures of the boundary tests, and their options.

    pytest tests/faults/boundaries                        some hundred deaths, as in CI
    pytest tests/faults/boundaries --every-boundary       every passage, twice in a row, and as a power cut
    pytest tests/faults/boundaries --rabbitmq             over RabbitMQ as well

All trials of a module are begun when its first test asks for its own, and each test waits for its own alone; so their
durations say little.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import cycle
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest

from config.servers import drop_database
from tests.conftest import Shop, empty_keyspace, make_shop
from tests.faults.boundaries.case_runner import Ended, play, play_later, rehearse
from tests.faults.boundaries.detours import PARENTS
from tests.faults.boundaries.lanes import HEARTBEAT, PACE, Lane, next_id
from tests.faults.boundaries.points import WORKLOADS, Case, cases
from tests.faults.boundaries.workloads import Workload
from tests.support.rabbitmq import RabbitMQ

#: Lanes whose worker dies as a whole; and lanes in which a saga is alone.
NARROW = 2
CHILDREN = 16
AT_ONCE = 12


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("boundaries")
    group.addoption("--every-boundary", action="store_true", help="die at every passage of every point")
    group.addoption("--rabbitmq", action="store_true", help="over RabbitMQ too, installed by apt-get if need be")


def option(config: pytest.Config, name: str) -> bool:
    # Named without its dashes: as a part of a larger run this conftest comes too late to add an option.
    return bool(config.getoption(name, default=False))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "broker_lanes" in metafunc.fixturenames:
        brokers = ["valkey", *(["rabbitmq"] if option(metafunc.config, "rabbitmq") else [])]
        metafunc.parametrize("broker_lanes", brokers, indirect=True, scope="package")
    if "case" in metafunc.fixturenames:
        chosen = list(cases(every=option(metafunc.config, "every_boundary")))
        metafunc.parametrize("case", chosen, ids=str)
    if "workload" in metafunc.fixturenames:
        metafunc.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)


@dataclass(frozen=True)
class BegunTrials:
    """The trials of one module's tests: each has begun, and its outcome can be waited for."""

    shops: Sequence[Shop]
    rehearsals: Mapping[str, "Future[Ended]"]
    deaths: Mapping[str, Sequence["Future[Any]"]]

    def rehearsed(self, workload: Workload) -> Ended:
        return self.rehearsals[workload.name].result()

    def died(self, case: Case) -> None:
        for death in self.deaths[str(case)]:
            death.result()

    def ended(self) -> list[Ended]:
        """Whatever has come to a good end so far."""
        futures = [*self.rehearsals.values(), *(deaths[0] for deaths in self.deaths.values())]
        return [it.result() for it in futures if it.done() and it.exception() is None]


@dataclass
class BrokerLanes:
    """Where trials are played over one broker: one wide lane, and narrow ones, for one trial at a time each."""

    broker: str
    open_lane: Callable[..., Lane]

    @cached_property
    def wide(self) -> Lane:
        return self.open_lane(children=CHILDREN, trials=AT_ONCE, beats=True)

    @cached_property
    def _narrow(self) -> Iterator[Lane]:
        return cycle([self.open_lane(children=2, trials=1, beats=False) for _ in range(NARROW)])

    @cached_property
    def _lonely(self) -> Iterator[Lane]:
        return cycle([self.open_lane(children=4, trials=1, beats=True) for _ in range(NARROW)])

    def lane(self, workload: Workload, *, ends_worker: bool) -> Lane:
        if ends_worker:
            return next(self._narrow)
        return next(self._lonely) if workload.alone else self.wide


@pytest.fixture(scope="package")
def broker_lanes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerLanes]:
    """Of the broker that is named by the test's parameter."""
    with ExitStack() as stack:
        servers = stack.enter_context(serving(request))
        stack.enter_context(patch("sagas.engine.core.uuid7", next_id))
        yield BrokerLanes(request.param, partial(open_lane, stack, servers, tmp_path_factory))


@pytest.fixture(scope="module")
def begun_trials(request: pytest.FixtureRequest, broker_lanes: BrokerLanes) -> BegunTrials:
    """Every case and every workload that was selected of this module has been begun."""
    every = option(request.config, "every_boundary")
    items = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    selected = [
        item.callspec.params for item in items if item.callspec.params.get("broker_lanes") == broker_lanes.broker
    ]
    chosen = [parameters["case"] for parameters in selected if "case" in parameters]
    named = {parameters["workload"].name for parameters in selected if "workload" in parameters}
    named |= {case.workload.name for case in chosen if every}
    shops: dict[str, Shop] = {}
    rehearsals: dict[str, Future[Ended]] = {}
    deaths: dict[str, list[Future[Any]]] = {}

    def lane_for(workload: Workload, *, ends_worker: bool) -> Lane:
        lane = broker_lanes.lane(workload, ends_worker=ends_worker)
        shops[lane.shop.database_url] = lane.shop
        return lane

    for workload in WORKLOADS:
        if workload.name in named:
            lane = lane_for(workload, ends_worker=workload in PARENTS)
            rehearsals[workload.name] = lane.submit(rehearse, lane, workload)
    for case in chosen:
        lane = lane_for(case.workload, ends_worker=case.ends_worker)
        deaths[str(case)] = [lane.submit(play, lane, case)]
        if every and case.stands_for_later:
            deaths[str(case)].append(lane.submit(play_later, lane, case, rehearsals[case.workload.name]))
    return BegunTrials(list(shops.values()), rehearsals, deaths)


@dataclass(frozen=True)
class Servers:
    """Where lanes get an empty database and an empty broker from."""

    postgres: Any
    empty_broker: Callable[[], str]

    @contextmanager
    def empty_database(self) -> Iterator[str]:
        name = f"test_{uuid4().hex}"
        yield self.postgres.create_database(name)
        drop_database(self.postgres.url, name)


@contextmanager
def serving(request: pytest.FixtureRequest) -> Iterator[Servers]:
    postgres = request.getfixturevalue("postgres")
    if request.param == "valkey":
        yield Servers(postgres, partial(empty_keyspace, request.getfixturevalue("broker")))
    else:
        with RabbitMQ() as node:
            yield Servers(postgres, node.empty_vhost)


def open_lane(
    stack: ExitStack, servers: Servers, directories: pytest.TempPathFactory, *, children: int, trials: int, beats: bool
) -> Lane:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SAGAS_HEARTBEAT", str(HEARTBEAT))
        environment.setenv("SAGAS_SWEEP_EVERY", str(PACE))
        database_url = stack.enter_context(servers.empty_database())
        shop = make_shop(database_url, servers.empty_broker(), directories.mktemp("lane"))
    lane = Lane(shop, children=children, trials=trials, beats=beats)
    stack.callback(lane.close)
    lane.open()
    return lane
