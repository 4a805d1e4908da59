"""What `check` notes of steps that doubt as the default may surprise."""

from typing import Any

import pytest
from celery import Celery

from sagas import BestEffort, Child, Const, PermanentError, Pivot, Retriable, Retry, Saga, Sagas, Step, parallel
from sagas.cli.doubt import doubt_notes

app = Celery("doubt-notes", set_as_current=False)


class Declined(PermanentError):
    pass


class SoldOut(Exception):
    pass


@app.task(shared=False)
def look() -> None: ...


@app.task(shared=False)
def charge(order_id: str) -> Any: ...


@app.task(shared=False)
def refund(charge_id: str) -> None: ...


@app.task(shared=False)
def refund_order(order_id: str) -> None: ...


@app.task(shared=False)
def refund_if_known(charge_id: str | None = None) -> None: ...


@app.task(shared=False)
def give_id() -> dict[str, Any]: ...


@app.task(shared=False)
def take_all(data: dict[str, Any]) -> None: ...


def noted(*steps: Any, **options: Any) -> list[str]:
    return doubt_notes(Saga("noted", steps=steps, **options))


# -- D14: who says no by an error, and does not say by which


def test_d14_a_pivot_without_clean_errors_is_noted_whatever_its_policy() -> None:
    (note,) = noted(Pivot(look, name="ship"))

    assert note.startswith("saga 'noted': the pivot 'ship' names no clean errors")
    assert "clean=(…)" in note


@pytest.mark.parametrize(
    ("retry", "told"),
    [
        (Retry(never_on=(SoldOut,)), "Retry(never_on=…)"),
        (Retry(on=(ConnectionError,)), "Retry(on=…)"),
        (Retry(on=(ConnectionError,), never_on=(SoldOut,)), "Retry(on=…, never_on=…)"),
    ],
    ids=["never_on", "on", "both"],
)
def test_d14_a_step_whose_policy_names_errors_and_no_clean_ones_is_noted(retry: Retry, told: str) -> None:
    (note,) = noted(Step(look, name="reserve", compensation=look, retry=retry))

    assert f"step 'reserve' has {told} and names no clean errors" in note


def test_d14_who_names_clean_errors_or_says_that_there_are_none_is_not_noted() -> None:
    assert noted(Pivot(look, name="ship", clean=(SoldOut,))) == []
    assert noted(Pivot(look, name="ship", clean=())) == []
    assert noted(Step(look, name="a", compensation=look, clean=(SoldOut,), retry=Retry(never_on=(SoldOut,)))) == []


def test_d14_nor_is_a_step_whose_policy_names_none_or_that_stands_past_the_pivot() -> None:
    assert (
        noted(
            Step(look, name="a", compensation=look, retry=Retry(max_attempts=9)),
            Pivot(look, name="p", clean=()),
            Retriable(look, name="r", retry=Retry(on=(ConnectionError,))),
            BestEffort(look, name="n", retry=Retry(never_on=(SoldOut,))),
        )
        == []
    )


def test_d14_to_say_that_no_error_is_clean_leaves_the_plan_as_it_is() -> None:
    engine = Sagas(Celery("said", set_as_current=False), database="postgresql://nobody@/nowhere").engine

    @engine.app.task(shared=False)
    def task() -> None: ...

    said, unsaid = (
        Saga("said", steps=[Pivot(task, name="p", **options)]).plan(engine) for options in ({"clean": ()}, {})
    )
    assert said.fingerprint == unsaid.fingerprint


# -- D3: undos whose parameters nothing is certain to provide


def test_d3_an_undo_that_requires_what_only_its_actions_result_may_give_is_noted() -> None:
    (note,) = noted(Step(charge, compensation=refund))

    assert "the compensation of step 'charge' requires 'charge_id', which nothing is certain to provide" in note
    assert "action_key" in note


@pytest.mark.parametrize(
    "saga",
    [
        {"steps": [Step(charge, compensation=refund_order)]},
        {"steps": [Step(charge, compensation=refund_if_known)]},
        {"steps": [Step(charge, compensation=take_all)]},
        {"steps": [Step(charge, compensation=None)]},
        {
            "steps": [Step(look, compensation=None), Step(charge, compensation=refund)],
            "input": ["charge_id", "order_id"],
        },
        {"steps": [Step(charge, compensation=refund, undo_inputs={"charge_id": Const("all")})]},
        {"steps": [Step(charge, compensation=refund, undo_inputs={"charge_id": "order_id"})]},
        {"steps": [Step(refund, name="x", compensation=None), Step(look, compensation=refund)]},
        {"steps": [Step(give_id, output="charge_id", compensation=None), Step(look, compensation=refund)]},
        {
            "steps": [
                parallel(Step(refund, name="x", compensation=None), Step(look, name="y", compensation=None)),
                Step(look, compensation=refund),
            ]
        },
    ],
    ids=[
        "what its action was called with",
        "a default",
        "all of the data",
        "no undo",
        "the input",
        "a constant",
        "another name",
        "what an earlier step was called with",
        "what an earlier step returns",
        "what a branch before it was called with",
    ],
)
def test_d3_what_is_there_for_certain_is_not_noted(saga: dict[str, Any]) -> None:
    assert doubt_notes(Saga("certain", **saga)) == []


@pytest.mark.parametrize(
    "steps",
    [
        [Step(give_id, compensation=None), Step(look, compensation=refund)],
        [Step(refund, name="x", compensation=None, when="wanted"), Step(look, compensation=refund)],
        [BestEffort(refund, name="x"), Step(look, compensation=refund)],
        [Step(look, compensation=refund), Step(refund, name="x", compensation=None)],
        [parallel(Step(refund, name="x", compensation=None), Step(look, compensation=refund))],
        [Step(charge, compensation=refund, inputs={"order_id": "charge_id"}, undo_inputs={"charge_id": "other"})],
    ],
    ids=["undeclared", "skipped", "best effort", "later", "beside", "unknown name"],
)
def test_d3_what_may_not_be_there_is_noted(steps: list[Any]) -> None:
    (note,) = doubt_notes(Saga("uncertain", steps=steps))
    assert "which nothing is certain to provide" in note


def test_d3_a_child_is_noted_by_itself() -> None:
    child = Saga("child-of-noted", steps=[Step(charge, compensation=refund)])

    assert noted(Child(child)) == []
    assert len(doubt_notes(child)) == 1


# -- names


def test_a_clean_error_by_name_that_cannot_be_imported_is_noted() -> None:
    names = ("no_such_client.errors.Declined", "json.NoSuchError", "json.JSONDecodeError", f"{__name__}.Declined")
    notes = noted(Step(look, name="charge", compensation=look, clean=names))

    assert len(notes) == 2
    for name, note in zip(names, notes, strict=False):
        assert f"step 'charge' names the clean error {name!r}, which cannot be imported here" in note


def test_a_name_whose_module_raises_at_its_import_is_noted_too(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_client.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)

    (note,) = noted(Pivot(look, name="p", clean=("broken_client.Declined",)))
    assert "broken_client.Declined" in note
