"""A saga waits for a signal from outside: it is heard once, in its order, whenever it comes."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from sagas import (
    InstanceNotFound,
    PayloadError,
    Pivot,
    Saga,
    SagaHandle,
    SagaStatus,
    StepStatus,
    TransitionRefused,
    WaitFor,
    parallel,
)
from sagas.model import Mail, MailKind
from tests.conftest import Shop
from tests.support import gates, journal, scripted, shapes
from tests.support.bench import Background
from tests.support.programs import briefly
from tests.support.scripted import QUICK, step
from tests.support.workers import eventually

approved_and_paid = Saga(
    "approved-and-paid", steps=[WaitFor("approval", timeout=3600), WaitFor("payment", timeout=3600)]
)
two_approvals = Saga(
    "two-approvals",
    steps=[
        step("a"),
        WaitFor("approval", timeout=3600, name="first"),
        WaitFor("approval", timeout=3600, name="second"),
        step("b"),
    ],
)
approved_twice_at_once = Saga(
    "approved-twice-at-once",
    steps=[
        parallel(
            [WaitFor("approval", timeout=3600, name="left"), step("b")],
            [WaitFor("approval", timeout=3600, name="right"), step("c")],
        ),
        step("d"),
    ],
)
waits_last = Saga("waits-last", steps=[step("a"), WaitFor("approval", timeout=3600)])
released = Saga(
    "released",
    steps=[step("a"), Pivot(scripted.act, name="p", retry=QUICK), WaitFor("go", timeout=3600, on_timeout="continue")],
)
passes_on = Saga(
    "passes-on",
    steps=[WaitFor("gift", timeout=3600), step("carry", task=scripted.pass_on, compensation=None)],
)
clashes = Saga(
    "signal-clashes",
    steps=[
        parallel(WaitFor("gift", timeout=3600), step("b", task=scripted.give)),
        step("c"),
    ],
)


def until_it_waits(run: SagaHandle, name: str = "approval") -> None:
    eventually(
        lambda: any(step.name == name and step.started_at and not step.finished_at for step in run.steps),
        f"{name} to be waited for",
    )


def letters(shop: Shop, run: SagaHandle) -> int:
    """How many signals lie in its inbox."""
    counted = "SELECT count(*) FROM sagas.saga_inbox WHERE instance_id = %s AND kind = 'signal'"
    return int(journal.query(shop.database_url, counted, str(run.id))[0][0])


# -- when it comes


def test_a_signal_ends_the_wait_and_its_payload_joins_the_data(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.approved)
    until_it_waits(run)
    assert run.status is SagaStatus.RUNNING

    assert run.signal("approval", {"approved_by": "maria", "limit": 3})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "b"]
    assert run.data == {"script": {}, "a_done": 1, "b_done": 1, "approved_by": "maria", "limit": 3}
    assert run.steps[1].result == {"approved_by": "maria", "limit": 3}


def test_a_signal_that_comes_before_the_wait_is_kept_for_it(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.approved, {"a": ["wait:door"]})
    gates.until_reached(busy_shop.database_url, run, "door")
    run.signal("approval", {"approved_by": "maria"})
    busy_shop.sagas.sweep()

    gates.open_gate(busy_shop.database_url, run, "door")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.data["approved_by"] == "maria"


def test_a_signal_that_comes_before_any_worker_is_kept_too(shop: Shop) -> None:
    runs = [shop.start(saga) for saga in (shapes.first_waits, shapes.approved)]

    assert all(run.signal("approval") for run in runs)

    assert [run.status for run in runs] == [SagaStatus.RUNNING, SagaStatus.PENDING]
    with briefly(shop.worker("-c", "1")):
        assert [run.wait(30) for run in runs] == [SagaStatus.COMPLETED] * 2


def test_a_wait_may_be_the_last_step(busy_shop: Shop) -> None:
    run = busy_shop.start(waits_last)
    until_it_waits(run)

    run.signal("approval", {"last": True})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.data["last"] is True


def test_past_the_pivot_a_signal_is_waited_for_as_well(busy_shop: Shop) -> None:
    run = busy_shop.start(released)
    until_it_waits(run, "go")

    run.signal("go", {"went": 1})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.data["went"] == 1


def test_a_signal_that_no_step_waits_for_is_refused_and_does_no_harm(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.approved)
    until_it_waits(run)

    with pytest.raises(TransitionRefused, match="does not wait for signal 'aproval': its plan has only approval"):
        run.signal("aproval", {"a": 1})

    assert run.status is SagaStatus.RUNNING
    run.signal("approval")
    assert run.wait(30) is SagaStatus.COMPLETED
    assert "a" not in run.data


# -- how often


def test_the_same_key_again_is_the_same_signal(busy_shop: Shop) -> None:
    run = busy_shop.start(two_approvals)
    until_it_waits(run, "first")

    assert run.signal("approval", {"n": 1}, key="click-1") is True
    until_it_waits(run, "second")
    assert run.signal("approval", {"n": 2}, key="click-1") is False
    busy_shop.sagas.sweep()

    assert [step.status for step in run.steps[1:3]] == [StepStatus.COMPLETED, StepStatus.PENDING]
    assert run.signal("approval", {"n": 3}, key="click-2") is True
    assert run.wait(30) is SagaStatus.COMPLETED
    assert [step.result for step in run.steps[1:3]] == [{"n": 1}, {"n": 3}]


def test_without_a_key_each_is_a_signal_of_its_own(busy_shop: Shop) -> None:
    run = busy_shop.start(two_approvals)

    assert run.signal("approval")
    assert run.signal("approval")

    assert run.wait(30) is SagaStatus.COMPLETED


def test_the_same_key_is_another_signal_under_another_name_and_for_another_saga(busy_shop: Shop) -> None:
    one, other = busy_shop.start(approved_and_paid), busy_shop.start(approved_and_paid)

    assert one.signal("approval", key="k")
    assert one.signal("payment", key="k")
    assert other.signal("approval", key="k")
    assert other.signal("payment", key="k")

    assert (one.wait(30), other.wait(30)) == (SagaStatus.COMPLETED, SagaStatus.COMPLETED)


def test_of_eight_at_once_with_one_key_one_is_heard(busy_shop: Shop) -> None:
    run = busy_shop.start(two_approvals)
    until_it_waits(run, "first")
    together = threading.Barrier(8)

    def send() -> bool:
        together.wait(30)
        return run.signal("approval", key="click")

    heard = [sender.join(30) for sender in [Background(send) for _ in range(8)]]

    assert sorted(heard) == [False] * 7 + [True]
    until_it_waits(run, "second")
    assert letters(busy_shop, run) == 1
    assert journal.events(busy_shop.database_url, run.id, "signal_received") == 1


def test_two_waits_for_one_name_take_two_signals_in_their_order(busy_shop: Shop) -> None:
    early, late = busy_shop.start(two_approvals, {"a": ["wait:door"]}), busy_shop.start(two_approvals)
    gates.until_reached(busy_shop.database_url, early, "door")
    until_it_waits(late, "first")
    for run in (early, late):
        for number in (1, 2):
            run.signal("approval", {"n": number})
    gates.open_gate(busy_shop.database_url, early, "door")

    for run in (early, late):
        assert run.wait(30) is SagaStatus.COMPLETED
        assert [step.result for step in run.steps[1:3]] == [{"n": 1}, {"n": 2}]
        assert run.data["n"] == 2


def test_one_signal_ends_one_of_two_waits_side_by_side(busy_shop: Shop) -> None:
    run = busy_shop.start(approved_twice_at_once)
    until_it_waits(run, "right")

    run.signal("approval")
    eventually(lambda: busy_shop.effects(run) == ["b"], "the branch that was heard first")
    assert run.steps[2].status is StepStatus.PENDING
    run.signal("approval")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["b", "c", "d"]


# -- what it says


def test_a_payload_comes_back_as_it_was(busy_shop: Shop) -> None:
    gift = {"total": Decimal("9.90"), "id": uuid4(), "at": datetime.now(UTC), "for": timedelta(hours=2), "f": 1e300}
    run = busy_shop.start(passes_on)

    run.signal("gift", {"gift": gift})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.data["passed"] == gift


def test_a_payload_takes_the_place_of_what_was_known_by_its_names(busy_shop: Shop) -> None:
    run = busy_shop.sagas.start(passes_on, {"gift": "a book"})

    run.signal("gift", {"gift": "a ring"})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.data["passed"] == "a ring"


HOSTILE: dict[str, tuple[Any, str]] = {
    "an object": ({"who": object()}, r"payload of the signal approval\['who'\]"),
    "a NUL": ({"name": "a\x00b"}, "NUL"),
    "a NUL in a key": ({"a\x00": 1}, "NUL"),
    "a surrogate": ({"name": "\ud800"}, "surrogate"),
    "not a number": ({"n": float("nan")}, "nan"),
    "a number as key": ({"map": {1: 2}}, "the key 1"),
    "too large": ({"big": "x" * (1024 * 1024)}, "the limit is 1048576"),
}


@pytest.mark.parametrize(("payload", "says"), HOSTILE.values(), ids=HOSTILE)
def test_a_payload_that_cannot_be_stored_is_refused_and_the_wait_goes_on(
    busy_shop: Shop, payload: Any, says: str
) -> None:
    run = busy_shop.start(shapes.first_waits)

    with pytest.raises(PayloadError, match=says):
        run.signal("approval", payload)

    assert (letters(busy_shop, run), run.status) == (0, SagaStatus.RUNNING)


@pytest.mark.parametrize(("name", "key"), [("", None), ("a\x00", None), ("approval", "a\x00"), (7, None)])
def test_a_name_or_a_key_that_cannot_be_one_is_refused(busy_shop: Shop, name: Any, key: str | None) -> None:
    with pytest.raises(ValueError, match="must be text without NUL"):
        busy_shop.start(shapes.first_waits).signal(name, key=key)


def test_a_payload_and_a_branch_that_give_the_same_name_clash(busy_shop: Shop) -> None:
    run = busy_shop.sagas.start(clashes, {"script": {}, "gifts": {"b": {"gift": "a book"}}})
    eventually(lambda: run.steps[1].status is StepStatus.COMPLETED, "the branch beside the wait")

    run.signal("gift", {"gift": "a ring"})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert run.error is not None
    assert run.error.type == "sagas.KeyClash"


# -- in time, and too late


def test_a_signal_that_does_not_come_turns_the_saga_back(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.impatient)

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo a"]
    assert run.error is not None
    assert (run.error.type, run.error.step) == ("sagas.SignalTimeout", "approval")
    assert "no signal 'approval' came within 0:00:00.5" in run.error.message
    assert run.steps[1].status is StepStatus.FAILED


def test_a_signal_that_does_not_come_may_be_done_without(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.patient)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "b"]
    assert run.steps[1].result is None
    (entry,) = [entry for entry in run.history() if entry.event == "signal_timed_out"]
    assert (entry.step, entry.detail["on_timeout"]) == ("approval", "continue")


def test_a_signal_that_was_sent_in_time_and_is_looked_at_too_late_counts(shop: Shop) -> None:
    # Given: a wait whose time is over by now, and a signal in the inbox at which nobody has looked
    run = shop.start(shapes.first_waits)
    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_step SET not_before = clock_timestamp() - interval '1 s' WHERE instance_id = %s",
        str(run.id),
    )
    shop.sagas.engine.store.instances.inbox.put_now(run.id, Mail(kind=MailKind.SIGNAL, name="approval"))

    shop.sagas.sweep()

    assert run.steps[0].status is StepStatus.COMPLETED


@pytest.mark.parametrize(
    ("saga", "script", "ended"),
    [
        (scripted.three, {}, SagaStatus.COMPLETED),
        (scripted.three, {"b": ["no"]}, SagaStatus.COMPENSATED),
        (scripted.three, {"b": ["no"], "undo a": "invalid"}, SagaStatus.FAILED),
    ],
    ids=["completed", "compensated", "failed"],
)
def test_a_saga_that_has_ended_hears_nothing(busy_shop: Shop, saga: Saga, script: Any, ended: SagaStatus) -> None:
    run = busy_shop.start(saga, script)
    assert run.wait(30) is ended

    with pytest.raises(TransitionRefused, match=f"saga {run.id} is {ended} and takes no signals"):
        run.signal("approval")

    assert letters(busy_shop, run) == 0


def test_a_saga_that_is_being_undone_hears_nothing(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["no"], "undo a": ["wait:door"]})
    gates.until_reached(busy_shop.database_url, run, "door")

    with pytest.raises(TransitionRefused, match="is compensating and takes no signals"):
        run.signal("approval")

    gates.open_gate(busy_shop.database_url, run, "door")
    assert run.wait(30) is SagaStatus.COMPENSATED


def test_a_saga_that_is_not_there_hears_nothing(shop: Shop) -> None:
    with pytest.raises(InstanceNotFound, match="no saga instance"):
        SagaHandle(shop.sagas.engine, UUID(int=7)).signal("approval")


def test_the_history_tells_what_was_heard_and_from_whom(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.approved)
    until_it_waits(run)
    run.signal("approval", {"secret": "1234"}, by="maria")
    run.wait(30)

    (entry,) = [entry for entry in run.history() if entry.event == "signal_received"]
    assert (entry.step, entry.detail) == ("approval", {"signal": "approval", "by": "maria"})
    assert "signal_received" in run.timeline()
    assert "1234" not in run.timeline()


# -- with nobody left to say so


def test_a_wait_goes_on_although_the_worker_it_began_in_is_dead(shop: Shop) -> None:
    first = shop.worker(name="first")
    with briefly(first):
        run = shop.start(shapes.approved)
        until_it_waits(run)
        first.kill()
    run.signal("approval")

    with briefly(shop.worker(name="second")):
        assert run.wait(30) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b"]
