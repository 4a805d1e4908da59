"""A time limit that strikes in the library's own code, and messages that are older than what they ask for (M6, M10)."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from sagas import SagaStatus
from sagas.engine import CONTROL_QUEUE
from sagas.engine.loop import Loop
from sagas.model import Failed
from sagas.store import HotPath
from tests.conftest import Shop
from tests.support import journal, scripted
from tests.support.inline import run_message, run_messages


@pytest.fixture(autouse=True)
def _journal(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_m6_a_limit_that_strikes_around_the_completion_looks_at_its_own_token_first(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    # Given: the signal comes right before or right after the second step's completion is committed
    completes, struck = HotPath.complete, []

    def complete(self: HotPath, instance_id: Any, plan: Any, address: Any, **options: Any) -> Any:
        strikes = address.position == 1 and not struck
        if strikes and moment == "before":
            struck.append(address)
            raise SoftTimeLimitExceeded
        progress = completes(self, instance_id, plan, address, **options)
        if strikes:
            struck.append(address)
            raise SoftTimeLimitExceeded
        return progress

    monkeypatch.setattr(HotPath, "complete", complete)

    # When
    run = shop.start(scripted.three)
    run_messages(shop.sagas.app)

    # Then: the body was done, and that is what is recorded
    assert struck
    assert run.status is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b", "c"]
    assert [step.attempts for step in run.steps] == [1, 1, 1]


@pytest.mark.parametrize("step", ["b", "undo b"])
def test_m6_h12_a_limit_that_strikes_when_the_steps_transaction_was_rolled_back_does_not_record_it_as_done(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    # Given: the connection of its first try is lost after its write, and then the signal comes, before that is recorded
    handles, struck = Loop.handle, []

    def handle(self: Loop, instance_id: Any, event: Any, **options: Any) -> Any:
        if isinstance(event, Failed) and event.address.position == 1 and not struck:
            struck.append(event)
            raise SoftTimeLimitExceeded
        return handles(self, instance_id, event, **options)

    monkeypatch.setattr(Loop, "handle", handle)
    lost = f"write:{step},swallow:SELECT pg_terminate_backend(pg_backend_pid())"
    script = {step: [lost, f"write:{step}"], "c": ["no"] if step == "undo b" else []}

    # When
    run = shop.start(scripted.three, script)
    for queue in ("celery", CONTROL_QUEUE, "celery"):
        run_messages(shop.sagas.app, queue)

    # Then: it was tried again, and what it says to have done is there
    assert struck
    assert run.status is (SagaStatus.COMPENSATED if step == "undo b" else SagaStatus.COMPLETED)
    assert journal.ledger(shop.database_url, run.id) == [step]


def test_m10_a_message_from_another_queue_with_other_limits_does_what_the_plan_says(shop: Shop) -> None:
    # Given: the message as an older release would have sent it
    run = shop.start(scripted.three, {"a": "tell:deadline"})
    app = shop.sagas.app
    with app.connection_for_read() as connection:
        source, old = connection.SimpleQueue("celery"), connection.SimpleQueue("old")
        message = source.get(block=False)
        message.ack()
        how = {"content_type": message.content_type, "content_encoding": message.content_encoding}
        old.put(message.body, headers=message.headers | {"timelimit": [1, 1]}, **how)
        moved = old.get(block=True, timeout=5)
        moved.ack()
        run_message(app, moved)
        source.close()
        old.close()

    # When
    run_messages(app)

    # Then: its deadline is that of the plan's timeout, a minute away
    assert run.status is SagaStatus.COMPLETED
    (told,) = [effect for effect in shop.effects(run) if effect.startswith("deadline=")]
    started = run.steps[0].started_at
    assert started is not None
    deadline = datetime.fromisoformat(told.removeprefix("deadline="))
    assert timedelta(seconds=59) < deadline - started < timedelta(seconds=61)
