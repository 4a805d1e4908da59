"""D4: a plan is never read by a release that would misunderstand it."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from sagas.model import IfInDoubt, NewerRelease, Plan, PlanStep, RetryPolicy, Source
from sagas.model.releases import CHANGES_MEANING, HARMLESS
from tests.unit.model.story import child, pivot, plan_of, step

#: What changes the meaning of a step, and with it the meaning of a plan.
NEW: dict[str, dict[str, Any]] = {
    "inputs": {"inputs": (("account", Source(name="source")), ("sign", Source.constant(-1)))},
    "undo_inputs": {"undo_inputs": ()},
    "output": {"output": "debit"},
    "if_in_doubt": {"if_in_doubt": IfInDoubt.PERSON},
}
every_new_field = pytest.mark.parametrize("new", NEW.values(), ids=NEW)

READ_PLAN = "import json, sys; from sagas.model import Plan; print(Plan.from_json(json.load(sys.stdin)).fingerprint)"


def read_by(release: Path, plan: Plan) -> "subprocess.CompletedProcess[str]":
    """What that release's own code makes of a plan."""
    given = {"input": plan.text, "cwd": release, "capture_output": True, "text": True}
    return subprocess.run([sys.executable, "-c", READ_PLAN], **given, check=False)


@every_new_field
def test_d4_the_last_release_cannot_read_a_plan_that_it_would_misunderstand(
    last_release: Path, new: dict[str, Any]
) -> None:
    done = read_by(last_release, plan_of(step(), step(**new)))

    assert done.returncode == 1
    assert "is not a valid StepKind" in done.stderr


def test_d4_nor_a_parent_of_such_a_saga(last_release: Path) -> None:
    done = read_by(last_release, plan_of(child(step(output="debit"))))

    assert "is not a valid StepKind" in done.stderr


def test_d4_the_last_release_reads_every_other_plan(last_release: Path) -> None:
    plan = plan_of(step(), child(), pivot())
    harmless = plan_of(step(clean=("shop.Declined",), records=("charge_id",)), child(), pivot())

    assert read_by(last_release, plan).stdout.strip() == plan.fingerprint
    # It knows nothing of these, and works as it always has.
    assert read_by(last_release, harmless).stdout.strip() == plan.fingerprint


@every_new_field
def test_such_a_plan_comes_back_from_its_json(new: dict[str, Any]) -> None:
    plan = plan_of(step(**new), child(step(**new)))

    back = Plan.from_json(json.loads(plan.text))

    assert back == plan
    assert back.fingerprint == plan.fingerprint
    assert back.needs == {*new}


def test_a_plan_without_them_needs_nothing() -> None:
    assert plan_of(step(), child()).needs == frozenset()


def test_every_field_that_a_step_got_since_is_harmless_or_changes_its_meaning(last_release: Path) -> None:
    told = "from sagas.model import PlanStep; print(*PlanStep.__dataclass_fields__)"
    asked = subprocess.run([sys.executable, "-c", told], cwd=last_release, capture_output=True, text=True, check=True)

    since = {field.name for field in fields(PlanStep)} - {*asked.stdout.split()}

    unsaid = since - HARMLESS - CHANGES_MEANING
    assert not unsaid, "may a release that does not know it run the step? Name it in HARMLESS or in CHANGES_MEANING"


# -- what a newer release has stored


def stored(**more: Any) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads(plan_of(step(), step()).text)
    plan["steps"][1] |= more
    return plan


def test_d4_a_name_that_nobody_here_knows_is_refused() -> None:
    with pytest.raises(
        NewerRelease, match=r"the step 'step1' of the plan has 'colour', which this release does not kn"
    ):
        Plan.from_json(stored(colour="gold"))
    with pytest.raises(NewerRelease, match="the plan has 'colour'"):
        Plan.from_json(stored() | {"colour": "gold"})
    with pytest.raises(NewerRelease, match="a retry policy of the plan has 'colour'"):
        RetryPolicy.from_json(RetryPolicy().to_json() | {"colour": "gold"})


def test_a_name_that_its_writer_calls_harmless_is_left_out() -> None:
    plan = plan_of(step(), step())

    assert Plan.from_json(stored(**{"colour?": "gold"}) | {"shape?": "round"}) == plan


def test_d4_a_name_that_a_step_needs_and_that_nobody_here_knows_is_refused() -> None:
    with pytest.raises(NewerRelease, match="the step 'step1' of the plan needs 'colour'"):
        Plan.from_json(stored(kind="compensatable+colour"))
