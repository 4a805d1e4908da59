"""Two services and the bridge between them: real servers, workers and stations, which may be killed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from config.servers import EmbeddedBroker, EmbeddedPostgres
from sagas import Choreography, SagaHandle
from tests.conftest import GivenPostgres, Shop, empty_keyspace, make_shop
from tests.support import journal
from tests.support.bridged import stream
from tests.support.bridged.sale import Sold, sale
from tests.support.bridged.till import till
from tests.support.programs import Program
from tests.support.workers import Worker, eventually


@dataclass
class Service:
    """One of the two services: its application, its worker, and its end of the bridge."""

    shop: Shop
    choreography: Choreography
    other: str
    bridge_url: str
    processes: list[Worker] = field(default_factory=list)

    @property
    def _module(self) -> str:
        return f"tests.support.bridged.{self.choreography.name}"

    def work(self) -> Worker:
        """Start a worker."""
        name = f"worker{len(self.processes)}"
        worker = self.shop.worker("-c", "2", "-I", self._module, name=name, SAGAS_TEST_BRIDGE=self.bridge_url)
        self.processes.append(worker.start())
        return worker

    def bridge(self) -> Program:
        """Start a process of the bridge."""
        station = Program(
            {
                "SAGAS_DATABASE_URL": self.shop.database_url,
                "SAGAS_BROKER_URL": self.shop.broker_url,
                "SAGAS_TEST_BRIDGE": self.bridge_url,
                "SAGAS_TEST_SETTINGS": f"imports={self._module}",
            },
            self.shop.directory / f"station{len(self.processes)}.log",
            arguments=("sagas", "bridge", "run", self.other),
            ready=f"bridge {self.other} runs",
        )
        self.processes.append(station.start())
        return station

    def carry(self) -> None:
        """Start the process that takes what comes by a stream."""
        carrier = Program(
            {
                "SAGAS_DATABASE_URL": self.shop.database_url,
                "SAGAS_BROKER_URL": self.shop.broker_url,
                "SAGAS_TEST_BRIDGE": self.bridge_url,
            },
            self.shop.directory / "carrier.log",
            program=("tests.support.bridged.stream", self.choreography.name, self.other),
            ready=f"carries from {self.other}",
        )
        self.processes.append(carrier.start())

    @property
    def outgoing(self) -> tuple[str, str]:
        """The server and the name of the stream of what leaves."""
        return self.bridge_url, stream.name(self.choreography.name, self.other)

    def kill(self) -> None:
        """Kill all of its processes."""
        for process in self.processes:
            if process.process is not None and process.process.poll() is None:
                process.kill()

    def query(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        return journal.query(self.shop.database_url, statement, *parameters)

    def run_of(self, key: str) -> SagaHandle | None:
        return self.shop.sagas.find(saga=self.choreography.name, key=key)


@dataclass
class Trade:
    """Both of them."""

    sale: Service
    till: Service

    def sell(self, items: int, key: str | None = None) -> SagaHandle:
        key = key or uuid4().hex
        return sale.start_on(self.sale.shop.sagas.engine, Sold(items=items), key=key)

    def booked(self, key: str) -> list[str]:
        """Return what the till has done for a sale, in its order."""
        run = self.till.run_of(key)
        return [] if run is None else self.till.shop.effects(run)

    def all_booked(self, runs: list[SagaHandle]) -> int:
        return sum(len(self.booked(str(run.key))) for run in runs)

    def some_more_is_booked(self, runs: list[SagaHandle]) -> None:
        """Wait until the till has done more than now, or all is over."""
        before = self.all_booked(runs)
        eventually(
            lambda: self.all_booked(runs) > before or all(run.status.is_final for run in runs), "some to be booked", 90
        )

    def nothing_is_left(self) -> None:
        """Wait until both know that the other one has everything."""
        open_ = "SELECT count(*) FROM sagas.saga_export WHERE due_at IS NOT NULL"
        held = "SELECT count(*) FROM sagas.saga_import WHERE taken_at IS NULL"
        services = (self.sale, self.till)
        eventually(
            lambda: all(service.query(asked) == [(0,)] for service in services for asked in (open_, held)),
            "both to know",
            60,
        )

    def an_hour_passes(self) -> None:
        """Let all that was to happen within an hour be due now, on both sides, and leases run out."""
        for service in (self.sale, self.till):
            service.query(
                "UPDATE sagas.saga_export "
                "SET due_at = due_at - interval '1 hour', born_at = born_at - interval '1 hour' "
                "WHERE due_at IS NOT NULL RETURNING id"
            )
            service.query("UPDATE sagas.saga_lease SET until = until - interval '1 hour' RETURNING 1")


MakeTrade = Callable[[str], Trade]


@pytest.fixture
def bridge_broker(broker: EmbeddedBroker) -> Iterator[EmbeddedBroker]:
    """The broker between the two, which may be killed."""
    with EmbeddedBroker() as server:
        yield server


@pytest.fixture
def make_trade(
    postgres: EmbeddedPostgres | GivenPostgres, broker: EmbeddedBroker, tmp_path: Path
) -> Iterator[MakeTrade]:
    made: list[Service] = []

    def trade(bridge_url: str) -> Trade:
        for choreography, other in ((sale, "till"), (till, "sale")):
            directory = tmp_path / choreography.name
            directory.mkdir()
            database = postgres.create_database(f"test_{uuid4().hex}")
            made.append(
                Service(make_shop(database, empty_keyspace(broker), directory), choreography, other, bridge_url)
            )
        return Trade(*made)

    yield trade
    for service in made:
        service.kill()
        service.shop.sagas.engine.store.database.dispose()


def begin(trade: Trade) -> None:
    """Start a worker of each service, and wait until it has registered its graph."""
    for service in (trade.sale, trade.till):
        service.work()
        engine = service.shop.sagas.engine
        plan = service.choreography.plan(engine)
        eventually(lambda engine=engine, plan=plan: engine.store.runs.whole_graph(plan), "the graph", 60)


def whole(items: int) -> list[str]:
    """Return what the till does for a sale."""
    return [f"book {number}" for number in range(1, items + 1)]
