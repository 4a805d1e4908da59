"""What a person has found out about an action in doubt, told on the command line."""

import json
import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import shared_task

from sagas import Pivot, Retriable, Retry, Saga, SagaHandle, SagaStatus, Step, current_step, parallel
from sagas.model import Address, Completed
from sagas.signals import saga_status_changed
from tests.conftest import Shop
from tests.integration.test_manual_queue import work
from tests.support import journal, scripted
from tests.support.commands import Here

ONCE = Retry(max_attempts=1)


@shared_task
def charge(bank: str) -> str:
    """Takes the money, and what it does then fails."""
    journal.write("charge")
    current_step.record({"asked": bank, "card": "4111 1111"})
    raise KeyError("id")


@shared_task
def refund(charge_id: str | None = None, asked: str | None = None) -> None:
    journal.write(f"refund {charge_id} asked of {asked}")


@shared_task
def refund_known(charge_id: str) -> None:
    journal.write(f"refund {charge_id}")


careful = Saga(
    "careful-charge",
    steps=[
        scripted.step("a"),
        Step(charge, compensation=refund, retry=ONCE, if_in_doubt="person", output="charge_id", records=("asked",)),
    ],
)
#: As a shop wrote it before doubt was the default: the undo requires what only the result has.
trusting = Saga(
    "trusting-charge", steps=[scripted.step("a"), Step(charge, compensation=refund_known, retry=ONCE, name="charge")]
)
beside = Saga(
    "beside-past-the-pivot",
    steps=[
        Pivot(scripted.act, name="p"),
        parallel(*(Retriable(scripted.act, name=name, retry=ONCE) for name in ("r", "s"))),
        Retriable(scripted.pass_on, name="t"),
    ],
)


def failed(shop: Shop, saga: Saga, script: dict[str, Any] | None = None, **data: Any) -> SagaHandle:
    run = shop.sagas.start(saga, {"script": script or {}, **data})
    work(shop)
    assert run.status is SagaStatus.FAILED, run.timeline()
    return run


def charged(shop: Shop) -> SagaHandle:
    """Whether it was, only the bank can tell."""
    return failed(shop, careful, bank="ours")


def test_d1_a_pivot_that_happened_is_done_and_the_saga_goes_forward(shop: Shop, here: Here) -> None:
    run = failed(shop, scripted.pivoted, {"p": "after:invalid"})

    done = here(
        "resolve", str(run.id), "--step", "p", "--happened", "--result", '{"sent": 7}', "--reason", "asked them"
    )
    work(shop)

    assert (done.exit_code, done.output.strip()) == (0, f"{run.id} is running")
    assert run.status is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "p", "r"]
    assert run.data["sent"] == 7
    (entry,) = [entry for entry in run.history() if entry.event == "doubt_resolved"]
    assert (entry.step, entry.detail["reason"], entry.detail["happened"]) == ("p", "asked them", True)
    assert entry.detail["by"] not in ("", "operator")


def test_d1_a_pivot_that_did_not_happen_turns_the_saga_back(shop: Shop, here: Here) -> None:
    run = failed(shop, scripted.pivoted, {"p": "invalid"})

    done = here("resolve", str(run.id), "--not-happened", "--reason", "asked them")
    work(shop)

    assert done.exit_code == 0
    assert run.status is SagaStatus.COMPENSATED
    assert shop.effects(run) == ["a", "undo a"]
    assert run.steps[1].in_doubt is False


def test_d1_a_pivot_in_doubt_may_be_tried_again(shop: Shop, here: Here) -> None:
    run = failed(shop, scripted.pivoted, {"p": ["after:invalid"]})

    assert here("retry", str(run.id), "--reason", "asked them").exit_code == 0
    work(shop)

    # Its attempts begin anew, so its script does too.
    assert shop.effects(run)[:3] == ["a", "p", "p"]


@pytest.mark.parametrize(
    ("answer", "effects"),
    [
        (["--happened", "--result", '"ch_1"'], ["charge", "refund ch_1 asked of ours"]),
        (["--happened", "--undo"], ["charge", "refund None asked of ours"]),
        (["--happened", "--undone"], ["charge"]),
        (["--not-happened"], ["charge"]),
    ],
    ids=lambda given: " ".join(given) if given and given[0].startswith("-") else "",
)
def test_d13_each_answer_about_a_step_that_only_a_person_can_tell_of(
    shop: Shop, here: Here, answer: list[str], effects: list[str]
) -> None:
    run = charged(shop)

    done = here("resolve", str(run.id), *answer, "--reason", "asked the bank")
    work(shop)

    assert done.exit_code == 0, done.stderr
    assert run.status is SagaStatus.COMPENSATED, run.timeline()
    # The other steps were undone meanwhile.
    assert shop.effects(run) == ["a", effects[0], "undo a", *effects[1:]]


def test_retry_undoes_it_with_what_it_has_recorded(shop: Shop, here: Here) -> None:
    run = charged(shop)

    assert here("retry", str(run.id), "--reason", "it does no harm").exit_code == 0
    work(shop)

    assert shop.effects(run)[-1] == "refund None asked of ours"
    assert run.status is SagaStatus.COMPENSATED


@pytest.mark.parametrize(
    ("answer", "effects"),
    [(["--happened", "--result", '{"charge_id": "ch_1"}'], ["refund ch_1"]), (["--not-happened"], [])],
    ids=["happened", "not happened"],
)
def test_d3_an_undo_that_lacks_the_result_runs_with_the_one_that_a_person_gives(
    shop: Shop, here: Here, answer: list[str], effects: list[str]
) -> None:
    run = failed(shop, trusting, bank="ours")
    assert shop.effects(run) == ["a", "charge", "undo a"]
    assert "in doubt, and no result" in " ".join(here("manual").stdout.split())

    done = here("resolve", str(run.id), *answer, "--reason", "asked the bank")
    work(shop)

    assert done.exit_code == 0, done.stderr
    assert run.status is SagaStatus.COMPENSATED
    assert shop.effects(run)[3:] == effects


def test_of_two_that_are_stuck_side_by_side_each_is_resolved_by_its_name(shop: Shop, here: Here) -> None:
    run = failed(shop, beside, {"r": "after:invalid", "s": "after:invalid"})

    vague = here("resolve", str(run.id), "--happened", "--reason", "asked them")
    assert vague.exit_code == 1
    assert "name the step if there are several" in vague.stderr
    assert "It waits for a person at r (in doubt), s (in doubt)" in vague.stderr

    first = here("resolve", str(run.id), "--step", "s", "--happened", "--reason", "asked them")
    assert first.exit_code == 0, first.stderr
    again = here("resolve", str(run.id), "--step", "s", "--happened", "--reason", "asked them")
    assert again.exit_code == 1
    second = here("resolve", str(run.id), "--step", "r", "--happened", "--result", '{"gift": 1}', "--reason", "so too")
    work(shop)

    assert second.exit_code == 0, second.stderr
    assert run.status is SagaStatus.COMPLETED, run.timeline()
    assert run.data["passed"] == 1


def test_the_queue_of_what_waits_for_a_person_says_what_is_in_doubt(shop: Shop, here: Here) -> None:
    doubtful = failed(shop, scripted.pivoted, {"p": "after:invalid"})
    certain = failed(shop, scripted.pivoted, {"r": "no"})

    entries = {entry.split()[0]: entry for entry in re.split(r"\n(?! )", here("manual").stdout.strip())}

    assert "step p (in doubt): " in entries[str(doubtful.id)[:18]]
    assert "in doubt" not in entries[str(certain.id)[:18]]


def came_late(shop: Shop, here: Here) -> SagaHandle:
    """Its pivot did not happen, as a person said, and its saga was undone; then an unknown execution reports it."""
    run = failed(shop, scripted.pivoted, {"p": "invalid"})
    assert here("resolve", str(run.id), "--not-happened", "--reason", "asked them").exit_code == 0
    work(shop)
    assert run.status is SagaStatus.COMPENSATED
    report = Completed(address=Address(1), token=uuid4(), result='{"parcel": 7}')
    shop.sagas.engine.loop.handle(run.id, report)
    return run


def test_a_pivot_that_is_reported_after_its_saga_was_undone_fails_it_and_is_announced(
    shop: Shop, here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[UUID, str]] = []

    def hears(saga_id: UUID, status: str, **_: object) -> None:
        told.append((saga_id, status))

    saga_status_changed.connect(hears)
    try:
        run = came_late(shop, here)
    finally:
        saga_status_changed.disconnect(hears)

    assert run.status is SagaStatus.FAILED
    assert told[-2:] == [(run.id, "compensated"), (run.id, "failed")]
    assert "failed: compensation of p: sagas.InDoubt: it happened, its saga has turned back" in caplog.text
    (entry,) = map(json.loads, here("manual", "--json").stdout.splitlines())
    assert (entry["id"], entry["what"]) == (str(run.id), "compensation of p")
    assert "undo it by hand" in entry["error"]
    assert "needs a person: compensation of p" in here("show", str(run.id)).stdout
    assert run.data["parcel"] == 7
    assert [entry.event for entry in run.history()][-1] == "failed"


@pytest.mark.parametrize(
    "answer",
    [["resolve", "--happened", "--undone"], ["resolve", "--step", "p"], ["skip"]],
    ids=lambda answer: " ".join(answer),
)
def test_a_person_says_what_became_of_it_and_it_is_compensated(shop: Shop, here: Here, answer: list[str]) -> None:
    run = came_late(shop, here)
    verb, *options = answer

    done = here(verb, str(run.id), *options, "--reason", "called it off")
    work(shop)

    assert (done.exit_code, done.stdout) == (0, f"{run.id} is compensated\n"), done.stderr
    assert shop.effects(run) == ["a", "undo a"]
    assert here("manual").stdout == ""


@pytest.mark.parametrize(
    "answer",
    [["retry"], ["cancel"], ["resolve", "--happened"], ["resolve", "--not-happened"]],
    ids=lambda answer: " ".join(answer),
)
def test_what_cannot_be_done_about_it_is_refused_and_says_where_it_waits(
    shop: Shop, here: Here, answer: list[str]
) -> None:
    run = came_late(shop, here)
    verb, *options = answer

    done = here(verb, str(run.id), *options, "--reason", "called it off")

    assert done.exit_code == 1
    assert "It waits for a person at the compensation of p" in done.stderr
    assert run.status is SagaStatus.FAILED


def test_what_cannot_be_meant_is_refused_with_the_cure(shop: Shop, here: Here) -> None:
    run = failed(shop, scripted.pivoted, {"p": "after:invalid"})
    for options, code, says in (
        (["--not-happened", "--result", "{}"], 2, "--result is the action's result: pass --happened with it"),
        (["--result", "{}"], 2, "pass --happened with it"),
        (["--undo"], 2, "--undo belongs to --happened"),
        (["--not-happened", "--undone"], 2, "leave out --undo and --undone"),
        (["--happened", "--result", "{"], 2, "not valid JSON"),
        (["--happened", "--result", "null"], 2, 'it must be a JSON object, as in {"shipment_id": "4711"}'),
        (["--happened", "--result", '"4711"'], 2, "it must be a JSON object"),
        (["--happened", "--result", '{"a": NaN}'], 1, "result['a'] is nan"),
        (["--happened", "--step", "q"], 1, "It waits for a person at p (in doubt)"),
        ([], 1, "an action in doubt say whether it happened (happened=True or False; --happened or --not-happened)"),
    ):
        done = here("resolve", str(run.id), "--reason", "asked them", *options)

        assert (done.exit_code, says in done.stderr) == (code, True), (options, done.stderr)
    assert "Missing option '--reason'" in here("resolve", str(run.id), "--happened").stderr
    assert run.status is SagaStatus.FAILED


def test_past_the_pivot_there_is_no_way_back_for_what_did_not_happen(shop: Shop, here: Here) -> None:
    run = failed(shop, beside, {"r": "after:invalid"})

    done = here("resolve", str(run.id), "--not-happened", "--reason", "asked them")

    assert done.exit_code == 1
    assert "A step past the pivot that did not happen is retried" in done.stderr
