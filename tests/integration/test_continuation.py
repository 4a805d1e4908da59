"""``Saga(continuation="inline")``: the worker goes on by itself, and everything else is as with a message a step."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from sagas import SagaHandle, SagaStatus, StepStatus
from tests.conftest import Shop
from tests.support import continuing, gates, journal
from tests.support.branches import statuses
from tests.support.programs import Program, briefly
from tests.support.worker_events import received_events
from tests.support.workers import eventually

MODULE = ("-I", "tests.support.continuing")


@pytest.fixture(scope="module")
def inline(own_shop: Shop) -> Iterator[Shop]:
    with briefly(own_shop.worker("-c", "2", "-E", "-Q", "celery,other,limited,sagas", *MODULE)):
        yield own_shop


def messages(run: SagaHandle, shop: Shop) -> list[str]:
    """Which message has run each step: the first ``A``, the next new one ``B``."""
    found = "SELECT delivery FROM sagas.saga_step WHERE instance_id = %s AND round = 0 ORDER BY position, branch"
    deliveries = [delivery for (delivery,) in journal.query(shop.database_url, found, str(run.id))]
    named = {delivery: chr(ord("A") + number) for number, delivery in enumerate(dict.fromkeys(deliveries))}
    return [named[delivery] for delivery in deliveries]


def test_one_message_runs_all_steps(inline: Shop) -> None:
    run = inline.start(continuing.plain)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert inline.effects(run) == ["a", "b", "c", "d"]
    assert messages(run, inline) == ["A", "A", "A", "A"]


def test_c5_each_step_is_traced_whole_before_the_next_with_a_request_of_its_own(inline: Shop) -> None:
    run = inline.sagas.start(continuing.seen, {})

    assert run.wait(30) is SagaStatus.COMPLETED
    eventually(lambda: len(inline.effects(run)) == 12, "the last signal")
    effects = inline.effects(run)
    a, b, c = effects[1::4]
    assert [effects[at : at + 4] for at in (0, 4, 8)] == [["prerun", step, "success", "postrun"] for step in (a, b, c)]
    ids, parents = zip(*([word.split("=")[1] for word in step.split()[1:3]] for step in (a, b, c)), strict=True)
    assert len(set(ids)) == 3
    assert parents[1:] == (ids[0], ids[0])


@pytest.mark.parametrize(
    ("saga", "told"),
    [
        (continuing.pairs, ["A", "A", "B", "B"]),
        (continuing.elsewhere, ["A", "B", "B"]),
        (continuing.limited, ["A", "B", "C"]),
    ],
    ids=["so many steps", "another queue", "a rate limit"],
)
def test_what_may_not_follow_at_once_gets_a_message_of_its_own(inline: Shop, saga: Any, told: list[str]) -> None:
    run = inline.start(saga)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert messages(run, inline) == told


def test_c8_no_further_step_begins_when_the_message_has_run_for_so_long(inline: Shop) -> None:
    run = inline.start(continuing.brief, {"a": ["sleep:0.5"]})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert messages(run, inline) == ["A", "B", "B"]


def test_c7_the_heads_beside_it_are_sent_before_the_body_of_the_one_that_follows_at_once(inline: Shop) -> None:
    run = inline.start(continuing.lanes, {"l": "wait:both", "r": "wait:both"})
    gates.until_reached(inline.database_url, run, "both", times=2)
    gates.open_gate(inline.database_url, run, "both")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert sorted(inline.effects(run)[1:4]) == ["l", "r", "r2"]


def test_c9_branches_that_may_be_told_to_stop_have_messages_of_their_own(inline: Shop) -> None:
    run = inline.start(continuing.stopping)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert len(set(messages(run, inline)[:3])) == 3


def test_c1_each_step_has_its_own_limits_counted_from_its_own_start(inline: Shop) -> None:
    run = inline.sagas.start(continuing.slow_second, {"script": {}, "seconds": 2})

    assert run.wait(60) is SagaStatus.COMPENSATED
    # The first one's limit, of a second, ends nothing; the third one's is kept.
    assert inline.effects(run)[:4] == ["a", "b begins", "b ends", "c begins"]
    assert inline.effects(run)[4:] == ["undo c", "undo b", "undo a"]
    assert run.error is not None
    assert run.error.type == "billiard.exceptions.SoftTimeLimitExceeded"


def test_c1_a_step_that_does_not_stop_is_ended_by_its_own_hard_limit(inline: Shop) -> None:
    run = inline.sagas.start(continuing.hanging_second, {"script": {}})

    assert run.wait(60) is SagaStatus.COMPENSATED
    assert inline.effects(run) == ["a", "b", "undo b", "undo a"]
    assert (run.steps[1].attempts, run.steps[1].losses, run.steps[1].in_doubt) == (1, 0, True)
    assert run.error is not None
    assert run.error.type == "billiard.exceptions.TimeLimitExceeded"


def test_c11_terminating_the_message_ends_the_step_that_runs(inline: Shop) -> None:
    run = inline.start(continuing.plain, {"b": ["after:sleep:60"]})
    eventually(lambda: inline.effects(run) == ["a", "b"], "the second step to run")
    ((delivery,),) = set(
        journal.query(
            inline.database_url,
            "SELECT delivery FROM sagas.saga_step WHERE delivery IS NOT NULL AND instance_id = %s",
            str(run.id),
        )
    )
    inline.sagas.app.control.revoke(delivery, terminate=True, signal="SIGKILL")

    assert run.wait(60) is SagaStatus.COMPENSATED
    assert inline.effects(run) == ["a", "b", "undo b", "undo a"]
    assert run.error is not None
    assert run.error.type == "sagas.Terminated"


def test_c16_a_retry_is_a_message_and_what_follows_it_goes_on_with_that(inline: Shop) -> None:
    run = inline.start(continuing.plain, {"b": ["flaky"]})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert messages(run, inline) == ["A", "B", "B", "B"]
    assert run.steps[1].attempts == 2


def test_a_saga_that_fails_under_a_message_of_another_step_is_undone_in_order(inline: Shop) -> None:
    run = inline.start(continuing.plain, {"c": ["no"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert inline.effects(run) == ["a", "b", "undo b", "undo a"]


def test_c13_the_error_callback_turns_it_back_and_not_the_sweep(shop: Shop) -> None:
    with briefly(shop.worker("-c", "1", *MODULE, SAGAS_SWEEP_EVERY="3600")):
        run = shop.start(continuing.plain, {"c": ["no"]})

        assert run.wait(30) is SagaStatus.COMPENSATED


def test_c14_a_cancel_between_two_steps_is_seen_by_the_next_claim(inline: Shop) -> None:
    run = inline.sagas.start(continuing.meeting, {"script": {}})
    gates.until_reached(inline.database_url, run, "meeting")
    run.cancel("changed my mind")
    gates.open_gate(inline.database_url, run, "meeting")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert inline.effects(run) == ["a begins", "a ends", "undo a"]


def test_c10_a_warm_shutdown_stops_between_two_steps(shop: Shop) -> None:
    leaving = shop.worker("-c", "1", *MODULE, name="leaving")
    with briefly(leaving):
        run = shop.sagas.start(continuing.meeting, {"script": {}})
        gates.until_reached(shop.database_url, run, "meeting")
        assert leaving.process is not None
        leaving.process.send_signal(signal.SIGTERM)
        eventually(lambda: "Warm shutdown" in leaving.text(), "the worker to begin to leave")
        eventually(lambda: shop.effects(run) == ["a begins"], "the step to be in its body")
        gates.open_gate(shop.database_url, run, "meeting")
        leaving.process.wait(30)
    assert shop.effects(run) == ["a begins", "a ends"]

    with briefly(shop.worker("-c", "1", *MODULE, name="next")):
        assert run.wait(30) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a begins", "a ends", "b", "c"]


def test_c12_a_rate_limit_that_is_set_while_the_worker_runs_is_kept(shop: Shop) -> None:
    with briefly(shop.worker("-c", "1", *MODULE)):
        first = shop.start(continuing.plain)
        assert first.wait(30) is SagaStatus.COMPLETED
        shop.sagas.app.control.rate_limit("tests.support.scripted.act", "100/s", reply=True, timeout=5)
        eventually(
            lambda: len(set(messages(finished(shop.start(continuing.plain)), shop))) == 4, "the children to be told"
        )


def finished(run: SagaHandle) -> SagaHandle:
    assert run.wait(30) is SagaStatus.COMPLETED
    return run


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
def test_c17_other_pools_go_on_by_the_same_loop(shop: Shop, pool: str) -> None:
    arguments = ("-P", pool) if pool == "solo" else ("-P", pool, "-c", "4")
    with briefly(shop.worker(*arguments, *MODULE)):
        runs = [shop.start(continuing.plain, {"d": ["flaky"]}) for _ in range(4)]
        failed = shop.start(continuing.plain, {"c": ["no"]})

        assert [run.wait(60) for run in runs] == [SagaStatus.COMPLETED] * 4
        assert failed.wait(60) is SagaStatus.COMPENSATED
    for run in runs:
        assert messages(run, shop) == ["A", "A", "A", "B"]
        assert shop.effects(run) == ["a", "b", "c", "d"]


def test_a_worker_that_is_killed_in_a_further_step_leaves_it_to_the_others(shop: Shop) -> None:
    with briefly(shop.worker("-c", "2", *MODULE)):
        run = shop.start(continuing.plain, {"b": ["die"]})

        assert run.wait(60) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b", "c", "d"]
    assert statuses(run) == dict.fromkeys("abcd", StepStatus.COMPLETED)
    assert (run.steps[1].attempts, run.steps[1].losses) == (2, 1)


def test_c5_each_step_is_a_task_of_its_own_for_those_who_watch(inline: Shop) -> None:
    with received_events(inline.sagas) as heard:
        run = inline.start(continuing.plain, {"c": ["no"]})
        assert run.wait(30) is SagaStatus.COMPENSATED
        seen = eventually(lambda: told(heard, run), "the events of three steps")

    assert seen == {
        "a": ["task-received", "task-started", "task-succeeded"],
        "b": ["task-received", "task-started", "task-succeeded"],
        "c": ["task-received", "task-started", "task-failed"],
    }


def test_c5_without_events_of_tasks_a_worker_that_tells_its_own_heartbeats_sends_none(shop: Shop) -> None:
    environment = {"SAGAS_DATABASE_URL": shop.database_url, "SAGAS_BROKER_URL": shop.broker_url}
    arguments = ("worker", "-l", "INFO", "-c", "1", *MODULE)
    quiet = Program(os.environ | environment, shop.directory / "quiet.log", arguments=arguments, ready=" ready.")
    with briefly(quiet), received_events(shop.sagas) as heard:
        eventually(lambda: [one for one in heard if one["type"] == "worker-heartbeat"], "its heartbeat")
        # By then it has told its children, too.
        runs = [shop.start(continuing.plain) for _ in range(3)]
        assert [run.wait(30) for run in runs] == [SagaStatus.COMPLETED] * 3
        beats = len(heard)
        eventually(lambda: len(heard) > beats, "what was sent before the next heartbeat")

    assert {one["type"].partition("-")[0] for one in heard} == {"worker"}


def told(heard: list[Any], run: SagaHandle) -> dict[str, list[str]] | None:
    """The events of each of a saga's actions, by its name in the order of their arrival; None: not all are there."""
    received = [one for one in heard if one["type"] == "task-received" and one["root_id"] == str(run.id)]
    names = {one["uuid"]: one["name"].partition("/")[2] for one in received}
    kinds = {
        name: [one["type"] for one in heard if one.get("uuid") == uuid] for uuid, name in names.items() if name in "abc"
    }
    return kinds if sorted(map(len, kinds.values())) == [3, 3, 3] else None
