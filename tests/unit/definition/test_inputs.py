"""One task used twice with different arguments: what fills its parameters, and where its result is kept."""

from datetime import date
from typing import Any, TypedDict

import pytest
from celery import Celery, shared_task

from sagas import Child, Const, DefinitionError, MissingInput, Pivot, Retriable, Saga, Sagas, Step, parallel
from sagas.model import Plan, Source

NOWHERE = "postgresql://nobody@/nowhere?host=/nonexistent"


class Moved(TypedDict):
    entry: str


@shared_task
def move(account: str, amount: int, sign: int = 1, note: str | None = None) -> Moved:
    return {"entry": f"{account} {sign * amount}"}


@shared_task
def move_back(entry: str | None = None, account: str | None = None) -> None: ...


@shared_task
def cancel(entry: str) -> None: ...


@shared_task
def take(**anything: Any) -> None: ...


@shared_task
def report(debit: Moved) -> None: ...


def debit(**options: Any) -> Step:
    said = {
        "name": "debit",
        "inputs": {"account": "source", "sign": Const(-1)},
        "output": "debit",
        "compensation": move_back,
    }
    return Step(move, **(said | options))


def plan_of(*steps: Any, secrets: tuple[str, ...] = (), **options: Any) -> Plan:
    app = Celery("inputs", set_as_current=False, broker="memory://")
    return Saga("transfer", steps=steps, **options).plan(Sagas(app, database=NOWHERE, secrets=secrets).engine)


GIVEN = ["source", "target", "amount"]


def test_a_mapping_is_stored_in_the_plan_with_names_and_constants_apart() -> None:
    plan = plan_of(debit(undo_inputs={"entry": "debit"}))

    assert plan.steps[0].inputs == (("account", Source(name="source")), ("sign", Source(const="-1")))
    assert plan.steps[0].undo_inputs == (("entry", Source(name="debit")),)
    assert plan.steps[0].output == "debit"
    assert plan.to_json()["steps"][0]["inputs"] == {"account": {"name": "source"}, "sign": {"const": -1}}


def test_a_constant_is_whatever_data_may_be_and_a_new_copy_each_time() -> None:
    values = [{"days": [1, 2.5, None, True], "from": date(2026, 1, 1)}, "text", -1e300, []]
    plan = plan_of(*(Step(take, name=f"s{n}", compensation=None, inputs={"a": Const(v)}) for n, v in enumerate(values)))

    back = Plan.from_json(plan.to_json())

    sources = [step.inputs[0][1] for step in back.steps]
    assert [source.value for source in sources] == values
    assert sources[0].value is not sources[0].value


def test_the_order_in_which_a_mapping_is_written_is_nothing_that_a_plan_knows() -> None:
    there = plan_of(debit(inputs={"account": "source", "sign": Const({"a": 1, "b": 2})}))
    back = plan_of(debit(inputs={"sign": Const({"b": 2, "a": 1}), "account": "source"}))

    assert there.fingerprint == back.fingerprint


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"inputs": {"acount": "source"}}, r"step 'debit': inputs names the parameter 'acount', but its task has acc"),
        (
            {"inputs": {"account": -1}},
            r"step 'debit': inputs\['account'\] must be a name in the data, or a constant: C",
        ),
        ({"inputs": {"account": ""}}, r"inputs\['account'\] must be a name in the data"),
        ({"inputs": {1: "source"}}, r"inputs names the parameter 1"),
        ({"inputs": ["account"]}, r"inputs=\['account'\] must map parameters to names of the data or constants"),
        (
            {"inputs": {"account": Const({1, 2})}},
            r"inputs\['account'\] cannot be stored: the constant is a builtins.set",
        ),
        ({"inputs": {"account": Const("x" * 20_000)}}, r"cannot be stored: the constant takes 20002 bytes"),
        ({"undo_inputs": {"amount": "amount"}}, r"compensation of step 'debit': undo_inputs names the parameter 'amou"),
        ({"undo_inputs": {}, "compensation": None}, r"undo_inputs fill a compensation's parameters, but it has none"),
        ({"output": ""}, r"step 'debit': output='' must be the name in the data"),
        ({"output": 7}, r"output=7 must be the name in the data"),
    ],
)
def test_d27_what_cannot_work_is_refused_where_the_step_is_declared(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        debit(**options)


@pytest.mark.parametrize("kind", [Pivot, Retriable])
def test_from_the_pivot_on_there_is_no_compensation_to_fill(kind: type[Step]) -> None:
    with pytest.raises(DefinitionError, match="takes no undo_inputs"):
        kind(move, undo_inputs={})
    assert kind(move, inputs={"account": "source"}, output="moved").output == "moved"


def test_a_task_that_takes_any_keywords_takes_any_mapping() -> None:
    assert plan_of(Step(take, compensation=None, inputs={"whatever": "source"})).steps[0].inputs


def test_d27_a_mapped_parameter_asks_for_the_name_that_it_is_mapped_to() -> None:
    Saga("transfer", input=GIVEN, steps=[debit()])

    told = "the step 'debit' requires 'source' for its parameter 'account', and there is only account, amount"
    with pytest.raises(DefinitionError, match=told):
        Saga("transfer", input=["account", "amount"], steps=[debit()])
    with pytest.raises(DefinitionError, match="requires 'text' for its parameter 'note', and there is only"):
        Saga("transfer", input=GIVEN, steps=[debit(inputs={"account": "source", "note": "text"})])


def test_the_same_at_start_where_no_input_is_declared() -> None:
    saga = Saga("transfer", steps=[debit()])
    sagas = Sagas(Celery("inputs", set_as_current=False, broker="memory://"), database=NOWHERE)

    with pytest.raises(MissingInput, match="requires 'source' for its parameter 'account', and there is only amount"):
        sagas.start(saga, {"amount": 1})


def test_d27_a_compensation_takes_over_the_mapping_where_it_has_the_same_parameters() -> None:
    # `account` is filled from `source`, and `sign` is no parameter of it.
    Saga("transfer", input=GIVEN, steps=[debit()])

    told = "compensation of step 'debit' requires 'account', and there is only amount, source, target"
    with pytest.raises(DefinitionError, match=told):
        Saga("transfer", input=GIVEN, steps=[debit(compensation=move, undo_inputs={})])


def test_d27_an_undo_may_ask_for_its_actions_result_by_both_names_if_it_can_do_without() -> None:
    Saga("transfer", input=GIVEN, steps=[debit(undo_inputs={"entry": "entry"})])
    Saga("transfer", input=GIVEN, steps=[debit(undo_inputs={"entry": "debit"})])

    for mapped in ({}, {"entry": "debit"}):
        with pytest.raises(DefinitionError, match="which only its action's result gives"):
            Saga("transfer", input=GIVEN, steps=[debit(compensation=cancel, undo_inputs=mapped)])


def test_an_output_is_what_later_steps_find_in_the_data() -> None:
    Saga("transfer", input=GIVEN, steps=[debit(), Step(report, compensation=None)])
    Saga("transfer", input=GIVEN, steps=[debit(), Step(report, name="again", compensation=None, when="debit")])

    with pytest.raises(DefinitionError, match="requires 'debit', and there is only amount, entry, source, target"):
        Saga("transfer", input=GIVEN, steps=[debit(output=None), Step(report, compensation=None)])
    with pytest.raises(DefinitionError, match=r"asks for 'entry' with when="):
        Saga("transfer", input=GIVEN, steps=[debit(), Step(report, compensation=None, when="entry")])


def test_d27_branches_with_one_output_clash_and_with_two_do_not() -> None:
    credit = debit(name="credit", inputs={"account": "target"}, output="credit")
    Saga("transfer", input=GIVEN, steps=[parallel(debit(), credit)])

    with pytest.raises(DefinitionError, match="the branches 'debit' and 'credit' both return 'debit'"):
        Saga("transfer", input=GIVEN, steps=[parallel(debit(), debit(name="credit"))])
    with pytest.raises(DefinitionError, match="both return 'entry'"):
        Saga("transfer", input=GIVEN, steps=[parallel(debit(output=None), debit(name="credit", output=None))])


def test_a_childs_outputs_are_names_that_it_gives() -> None:
    moving = Saga("moving", input=GIVEN, steps=[debit()])

    Saga("parent", input=GIVEN, steps=[Child(moving), Step(report, compensation=None)])


@pytest.mark.parametrize(
    "options",
    [
        {"inputs": {"account": Const("4111")}},
        {"inputs": {"note": Const({"by": [{"account": "4111"}]})}},
        {"undo_inputs": {"account": Const("4111")}},
    ],
)
def test_d27_a_constant_for_a_secret_is_refused_and_not_told(options: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match="would store the secret 'account' in the plan") as caught:
        plan_of(debit(**options), secrets=("account",))
    assert "4111" not in str(caught.value)


def test_a_name_for_a_secret_is_no_secret() -> None:
    assert plan_of(debit(inputs={"account": "iban"}), secrets=("account", "iban")).steps[0].inputs
