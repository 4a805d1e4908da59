"""V23: a handler writes in the transaction in which its delivery is completed."""

from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from sagas import SagaHandle, SagaStatus
from sagas.engine.transaction import StepTransaction
from sagas.store.database import COMMIT
from sagas.store.prepared import PreparedAfterLock
from tests.conftest import Shop
from tests.faults.boundaries.statements import name_of, only_tells
from tests.support import choreographed, journal
from tests.support.choreographed import Ordered
from tests.support.inline import run_messages

WRITES = "INSERT ledger"


@pytest.fixture
def ring_shop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop whose messages run in this process."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    shop.sagas.register()
    return shop


def runs(shop: Shop, script: dict[str, Any]) -> SagaHandle:
    run = choreographed.ring.start_on(shop.sagas.engine, Ordered(script=script))
    run_messages(shop.sagas.app)
    return run


def watched(shop: Shop) -> list[tuple[str, str]]:
    """Every statement that is executed after a handler wrote something, with its transaction's isolation."""
    seen: list[tuple[str, str]] = []

    def look(connection: Any, cursor: Any, sent: str, *_: object) -> None:
        if only_tells(sent):
            return
        name = sent if sent == COMMIT else name_of(sent)
        if name == WRITES or seen:
            cursor.execute("SHOW transaction_isolation")
            seen.append((name, cursor.fetchone()[0]))

    engine = shop.sagas.engine.store.database.engine
    event.listen(engine, "before_cursor_execute", look)
    event.listen(engine, "commit", lambda _: seen and seen.append((COMMIT, "")))
    return seen


def test_v23_the_lock_of_the_run_comes_last_and_nothing_but_the_completion_follows_it(ring_shop: Shop) -> None:
    seen = watched(ring_shop)

    assert runs(ring_shop, {"charge": "write:charged"}).status is SagaStatus.COMPLETED

    assert [name for name, _ in seen[:3]] == [WRITES, "COMPLETE_DELIVERY", COMMIT]  # which takes the lock first


def test_v23_so_it_is_where_the_loop_decides(ring_shop: Shop) -> None:
    seen = watched(ring_shop)

    assert runs(ring_shop, {"charge": "write:charged, say:declined"}).status is SagaStatus.COMPENSATED

    sent = [name for name, _ in seen]
    assert sent[:2] == [WRITES, "LOCK_INSTANCE"]
    assert sent[sent.index("SAVE") + 1] == COMMIT
    assert sent.index(COMMIT) == sent.index("SAVE") + 1


def test_v23_a_handlers_own_transaction_is_read_committed(ring_shop: Shop) -> None:
    """Whatever is the default of its database."""
    (name,) = journal.query(ring_shop.database_url, "SELECT current_database()")[0]
    journal.query(ring_shop.database_url, f'ALTER DATABASE "{name}" SET default_transaction_isolation = serializable')
    ring_shop.sagas.engine.store.database.dispose()
    seen = watched(ring_shop)

    assert runs(ring_shop, {"charge": "write:charged"}).status is SagaStatus.COMPLETED

    assert dict(seen)[WRITES] == "read committed"


def test_v23_what_may_not_be_published_is_seen_before_the_commit(ring_shop: Shop) -> None:
    run = runs(ring_shop, {"ship": "write:shipped, say:no event"})

    assert run.status is SagaStatus.FAILED
    assert journal.ledger(ring_shop.database_url, run.id) == []


def lose_an_answer(monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> None:
    """The first call is done, and nobody hears of it."""
    honest, lost = getattr(owner, method), list[str]()

    def answer_gets_lost(self: Any, *given: Any) -> Any:
        answer = honest(self, *given)
        if lost:
            return answer
        lost.append(method)
        raise OperationalError(method, {}, OSError("server closed the connection"), connection_invalidated=True)

    monkeypatch.setattr(owner, method, answer_gets_lost)


def events(shop: Shop, run: SagaHandle) -> list[tuple[int, str]]:
    numbered = "SELECT number, name FROM sagas.saga_inbox WHERE instance_id = %s ORDER BY number"
    return journal.query(shop.database_url, numbered, str(run.id))


SHIPPED = [(1, "Ordered"), (2, "Reserved"), (3, "Charged"), (4, "Shipped")]


def test_the_answer_to_the_commit_of_a_handlers_own_transaction_can_be_lost(
    ring_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_an_answer(monkeypatch, StepTransaction, "commit")

    run = runs(ring_shop, {"charge": "write:charged"})

    assert run.status is SagaStatus.COMPLETED
    assert journal.ledger(ring_shop.database_url, run.id) == ["charged"]
    assert events(ring_shop, run) == SHIPPED


def test_the_answer_to_the_usual_end_of_a_delivery_can_be_lost(
    ring_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_an_answer(monkeypatch, PreparedAfterLock, "row")

    run = runs(ring_shop, {})
    ring_shop.sagas.engine.store.sweeping.hasten(run.id)  # the message that would have followed
    ring_shop.sagas.engine.loop.poke(run.id)
    run_messages(ring_shop.sagas.app)

    assert run.status is SagaStatus.COMPLETED
    assert ring_shop.effects(run) == ["reserve", "charge", "ship", "mail Shipped"]
    assert events(ring_shop, run) == SHIPPED
