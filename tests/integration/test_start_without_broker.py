"""Starting without a broker: the row is the truth, the message only makes it fast."""

import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy.orm import Session

from config.servers import EmbeddedBroker
from sagas import SagaStatus
from tests.conftest import Shop
from tests.support import scripted
from tests.support.application import make
from tests.support.bench import Bench
from tests.support.caller import Caller, caller_in, order
from tests.support.workers import eventually


@pytest.fixture
def caller(shop: Shop) -> Iterator[Caller]:
    with caller_in(shop) as made:
        yield made


@contextmanager
def shop_at(caller: Caller, broker_url: str) -> Iterator[Shop]:
    """The same database, with another broker."""
    sagas = make(broker_url, caller.shop.database_url)
    yield Shop(sagas, caller.shop.database_url, broker_url, caller.shop.directory)
    sagas.engine.store.database.dispose()


@pytest.fixture
def place() -> Iterator[Path]:
    """Where a socket may be; its path must be short."""
    directory = Path(tempfile.mkdtemp(prefix="s-", dir="/tmp"))
    yield directory / "b.sock"
    shutil.rmtree(directory)


def sent_to(place: Path) -> int:
    with Redis(unix_socket_path=str(place)) as client:
        return int(client.llen("celery"))


def test_a_broker_that_is_not_there_fails_no_start_and_the_sweep_sends_when_it_is_back(
    caller: Caller, place: Path, broker: EmbeddedBroker
) -> None:
    with shop_at(caller, f"redis+socket://{place}") as shop:
        # Given: nobody listens
        began = time.monotonic()
        runs = [shop.start(scripted.three)]
        shop.sagas.sweep()
        runs += [shop.start(scripted.three) for _ in range(2)]
        assert time.monotonic() - began < 30
        assert {run.status for run in runs} == {SagaStatus.PENDING}
        rows = Bench(shop.database_url, shop.sagas.engine.store)
        assert [step["line"] for run in runs for step in rows.steps(run.id)] == [":three"] * 3

        # When
        place.symlink_to(broker.directory / "valkey.sock")
        with Redis(unix_socket_path=str(place)) as client:
            client.flushdb()
        rows.age(5)
        shop.sagas.sweep()

        # Then: one each, and perhaps the one that was being sent when nobody listened
        assert sent_to(place) in (3, 4)


def test_in_a_session_too_a_broker_that_is_not_there_fails_no_commit(caller: Caller, place: Path) -> None:
    with shop_at(caller, f"redis+socket://{place}") as shop, Session(caller.engine) as session:
        order(session)
        run = shop.start(scripted.three, session=session)
        session.commit()

        assert run.status is SagaStatus.PENDING
    assert caller.orders() == 1


@pytest.fixture
def silence(place: Path) -> Iterator[Path]:
    """A listener that takes every connection and never answers."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    listener.listen(50)
    yield place
    listener.close()


def swept(caller: Caller) -> set[str]:
    """Whose messages wait after a sweep. One that the broker was slow to take is sent once more by the next."""
    caller.shop.sagas.sweep()
    return caller.sent_for()


def test_a_broker_that_never_answers_costs_the_first_start_little_and_the_next_ones_nothing(
    caller: Caller, silence: Path
) -> None:
    with shop_at(caller, f"redis+socket://{silence}") as shop:
        began = time.monotonic()
        runs = [shop.start(scripted.three)]
        first = time.monotonic() - began

        began = time.monotonic()
        runs += [shop.start(scripted.three) for _ in range(5)]
        next_five = time.monotonic() - began

        assert first < 5
        assert next_five < 2.5, "each of them waited again"
        assert {run.status for run in runs} == {SagaStatus.PENDING}

    # And a process that reaches a broker sends them all
    Bench(caller.shop.database_url, caller.shop.sagas.engine.store).age(5)
    eventually(lambda: swept(caller) == {str(run.id) for run in runs}, "all six to be sent", every=0.5)
