"""The sweep moves on what stands still: from beat, from the workers' timers, any number of them at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from celery import shared_task

from sagas import Saga, SagaHandle, SagaStatus, Step
from sagas.engine import CONTROL_QUEUE, SWEEP_TASK
from tests.conftest import Shop
from tests.support import journal, queues, scripted
from tests.support.programs import Program, briefly
from tests.support.workers import Worker, eventually


def test_sweeps_at_once_send_each_lost_message_once(shop: Shop) -> None:
    runs = [shop.start(scripted.three) for _ in range(40)]
    lose_everything(shop)

    with ThreadPoolExecutor(4) as threads:
        moved = list(threads.map(lambda _: shop.sagas.sweep(), range(8)))

    # Nobody takes any in, so most of them wait in the line.
    sent = Counter(message["root_id"] for message in queues.queued(shop.sagas))
    assert sum(moved) >= len(sent) >= 10
    assert set(sent.values()) == {1}
    assert sent.keys() <= {str(run.id) for run in runs}


def test_a_sweep_finds_nothing_to_do_where_nothing_stands_still(shop: Shop) -> None:
    for _ in range(10):
        shop.start(scripted.three)

    assert shop.sagas.sweep() == 0
    assert len(queues.queued(shop.sagas)) == 10


def test_the_sweep_is_in_the_beat_schedule(shop: Shop) -> None:
    """In whole seconds: django-celery-beat would store half a second as none, and send without a pause."""
    app = shop.sagas.app
    app.finalize()

    entry = app.conf.beat_schedule[SWEEP_TASK]
    assert (entry["task"], entry["schedule"], entry["options"]["queue"]) == (SWEEP_TASK, 1, CONTROL_QUEUE)
    assert "expires" not in entry["options"]
    assert app.tasks[SWEEP_TASK].expires == 3600  # it is the task's own, which every scheduler heeds


def test_the_workers_own_timers_are_enough(shop: Shop) -> None:
    runs = [shop.start(scripted.three, {"c": ["no"]} if number % 2 else {}) for number in range(10)]
    lose_everything(shop)

    with briefly(shop.worker()):
        assert_all_ended(shop, runs)


def test_beat_alone_is_enough(shop: Shop, tmp_path: Path) -> None:
    runs = [shop.start(scripted.three, {"c": ["no"]} if number % 2 else {}) for number in range(10)]
    lose_everything(shop)
    worker = Worker(servers(shop), tmp_path / "timerless.log", application="tests.support.timerless")

    with briefly(worker, beat(shop, tmp_path, "beat")):
        assert_all_ended(shop, runs)
    assert SWEEP_TASK in queues.received(worker)


def test_two_beats_and_two_workers_run_nothing_twice(shop: Shop, tmp_path: Path) -> None:
    runs = [shop.start(scripted.three, {"c": ["no"]} if number % 2 else {}) for number in range(40)]
    lose_everything(shop)
    beats = [beat(shop, tmp_path, name) for name in ("first", "second")]
    workers = [shop.worker("-c", "2", name=name) for name in ("left", "right")]

    with briefly(*beats, *workers):
        assert_all_ended(shop, runs)
    attempts = "SELECT count(*) FROM sagas.saga_step WHERE attempts > 1"
    assert journal.query(shop.database_url, attempts)[0][0] == 0


def test_a_worker_of_any_queue_hears_the_sweep_and_the_error_callbacks(shop: Shop) -> None:
    worker = shop.worker("-Q", "celery", SAGAS_SWEEP_EVERY="3600")
    with briefly(worker):
        shop.sagas.app.send_task(SWEEP_TASK, queue=CONTROL_QUEUE)
        eventually(lambda: f"Task {SWEEP_TASK}" in worker.text(), "the sweep to be taken in")

        # No sweep in an hour: only the error callback can turn this one back.
        run = shop.start(scripted.three, {"b": ["no"]})
        assert run.wait(30) is SagaStatus.COMPENSATED
    assert "three/on_error" in queues.received(worker)


@shared_task
def known_to_nobody() -> None:
    """No worker imports this module, as after a deploy that removed a task too early."""


def test_a_saga_whose_task_no_worker_knows_waits_and_says_so_while_the_others_go_on(shop: Shop) -> None:
    odd = shop.sagas.start(
        Saga("odd", steps=[scripted.step("a"), Step(known_to_nobody, compensation=None), scripted.step("c")]),
        {"script": {}},
    )
    worker = shop.worker()
    with briefly(worker):
        (parked,) = eventually(lambda: entries(odd, "parked", "known_to_nobody"), "the odd one to say that it waits")
        assert "has no task" in parked.detail["message"]
        received = "Received unregistered task"
        eventually(lambda: worker.text().count(received) > 1, "the odd one to be sent again")
        others = [shop.start(scripted.three) for _ in range(10)]
        assert_all_ended(shop, others)

        assert odd.status is SagaStatus.RUNNING
        assert shop.effects(odd) == ["a"]
        assert "known_to_nobody" in worker.text()
        # And it can be given up.
        odd.cancel("nobody knows this task any more")
        assert odd.wait(30) is SagaStatus.COMPENSATED
    assert shop.effects(odd) == ["a", "undo a"]


def test_h4_an_instance_on_which_the_sweep_raises_backs_off_alone_and_says_why(shop: Shop) -> None:
    # Given: a plan that this version cannot read, first in the queue of what is due
    bad = shop.start(scripted.five)
    runs = [shop.start(scripted.three) for _ in range(5)]
    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_instance SET plan = '{\"what\": 1}', plan_hash = 'unknown', "
        "due_at = clock_timestamp() - interval '1 day' WHERE id = %s",
        str(bad.id),
    )
    lose_everything(shop)

    with briefly(shop.worker("-c", "2")):
        assert_all_ended(shop, runs)
        eventually(lambda: journal.events(shop.database_url, bad.id, "sweep_failed"), "the reason in the history")
    later = "SELECT due_at > clock_timestamp() - interval '1 hour' FROM sagas.saga_instance WHERE id = %s"
    assert journal.query(shop.database_url, later, str(bad.id))[0][0]


def lose_everything(shop: Shop) -> None:
    """The broker forgot its messages, and the next sweep has reason to know it."""
    queues.forget_everything(shop.sagas)
    journal.query(shop.database_url, "UPDATE sagas.saga_step SET dispatched_at = NULL WHERE status = 'pending'")
    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_instance SET due_at = least(due_at, clock_timestamp()) WHERE due_at IS NOT NULL",
    )


def assert_all_ended(shop: Shop, runs: list[SagaHandle]) -> None:
    for run in runs:
        if run.wait(60) is SagaStatus.COMPLETED:
            assert shop.effects(run) == ["a", "b", "c"]
        else:
            assert run.status is SagaStatus.COMPENSATED
            assert shop.effects(run) == ["a", "b", "undo b", "undo a"]


def entries(run: SagaHandle, event: str, step: str) -> list[Any]:
    return [entry for entry in run.history() if (entry.event, entry.step) == (event, step)]


def servers(shop: Shop) -> dict[str, str]:
    return {"SAGAS_DATABASE_URL": shop.database_url, "SAGAS_BROKER_URL": shop.broker_url}


def beat(shop: Shop, directory: Path, name: str) -> Program:
    arguments = ("beat", "-l", "INFO", "-s", str(directory / f"{name}.schedule"), "--pidfile=")
    return Program(servers(shop), directory / f"{name}.log", arguments=arguments, ready="beat: Starting")
