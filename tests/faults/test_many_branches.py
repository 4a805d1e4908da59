"""Hundreds of sagas with eight branches each, over several workers: not one join is missed, and not one made twice.

pytest tests/faults/test_many_branches.py                  40 sagas
pytest tests/faults/test_many_branches.py --rounds 50      a thousand
"""

import random
from collections import Counter

import pytest

from sagas import SagaHandle
from tests.conftest import Shop
from tests.faults.killed_at_end import killed_at_end
from tests.support import journal, queues, shapes
from tests.support.workers import eventually

#: So many sagas make a round.
PER_ROUND = 20
BRANCHES = [f"b{number}" for number in range(8)]


@pytest.fixture
def number(rounds: int) -> int:
    return PER_ROUND * rounds


def ended(shop: Shop) -> Counter[str]:
    found = "SELECT status, count(*) FROM sagas.saga_instance WHERE finished_at IS NOT NULL GROUP BY status"
    return Counter(dict(journal.query(shop.database_url, found)))


def until_all_ended(shop: Shop, number: int) -> None:
    eventually(lambda: ended(shop).total() == number, f"{number} sagas to end", 60 + number, every=0.2)


def effects(shop: Shop) -> dict[str, Counter[str]]:
    """How often each effect of each saga happened."""
    counted = "SELECT saga_id::text, what, count(*) FROM public.journal GROUP BY saga_id, what"
    found: dict[str, Counter[str]] = {}
    for saga_id, what, times in journal.query(shop.database_url, counted):
        found.setdefault(saga_id, Counter())[what] = times
    return found


def assert_nothing_is_open(shop: Shop) -> None:
    """What SQL alone can tell: no instance waits for anything, no row is live, each ended instance has all its rows."""
    for what, query in {
        "instances that wait for something": "SELECT count(*) FROM sagas.saga_instance WHERE pending <> 0",
        "instances that are due": "SELECT count(*) FROM sagas.saga_instance WHERE due_at IS NOT NULL",
        "executions that are not over": (
            "SELECT count(*) FROM sagas.saga_step WHERE status IN ('pending', 'running') OR finished_at IS NULL"
        ),
        "completed instances with missing steps": """
            SELECT count(*) FROM sagas.saga_instance AS instance WHERE status = 'completed' AND 9 <> (
                SELECT count(*) FROM sagas.saga_step WHERE instance_id = instance.id AND round = 0
                AND status = 'completed')
        """,
        "compensated instances whose undos do not match what was done": """
            SELECT count(*) FROM sagas.saga_instance AS instance WHERE status = 'compensated' AND EXISTS (
                SELECT FROM sagas.saga_step AS action LEFT JOIN sagas.saga_step AS undo
                    ON undo.instance_id = action.instance_id AND undo.position = action.position
                    AND undo.branch = action.branch AND undo.round = 1
                WHERE action.instance_id = instance.id AND action.round = 0
                AND (action.status = 'completed' OR action.doubt) <> coalesce(undo.status = 'completed', false))
        """,
        "undone sagas whose undos ran in another order than backwards": """
            SELECT count(*) FROM (
                SELECT action.first_claimed_at < lag(action.first_claimed_at) OVER (
                    PARTITION BY action.instance_id ORDER BY undo.first_claimed_at DESC) AS is_wrong
                FROM sagas.saga_step AS action JOIN sagas.saga_step AS undo USING (instance_id, position, branch)
                WHERE action.round = 0 AND undo.round = 1
            ) AS ordered WHERE is_wrong
        """,
    }.items():
        assert (what, journal.query(shop.database_url, query)[0][0]) == (what, 0)


def assert_done_once(run: SagaHandle, happened: Counter[str], refusing: str | None) -> None:
    if refusing is None:
        assert happened == dict.fromkeys([*BRANCHES, "last"], 1)
        return
    done = {what for what in happened if not what.startswith("undo ")}
    assert set(happened.values()) <= {1}, f"{run.id}: {happened}"
    assert done <= {*BRANCHES} - {refusing}
    assert {what for what in happened if what.startswith("undo ")} == {f"undo {what}" for what in done}


def test_every_saga_of_many_completes_and_does_each_branch_once(shop: Shop, number: int) -> None:
    runs = [shop.start(shapes.eight) for _ in range(number)]
    with killed_at_end(shop.worker("-c", "2", name="left"), shop.worker("-c", "2", name="right")):
        until_all_ended(shop, number)

    assert ended(shop) == {"completed": number}
    assert_nothing_is_open(shop)
    happened = effects(shop)
    for run in runs:
        assert_done_once(run, happened[str(run.id)], None)


def test_every_saga_of_many_in_which_a_fifth_fails_is_done_or_undone_once(
    shop: Shop, number: int, dice: random.Random
) -> None:
    refusing = [dice.choice([*BRANCHES, "last"]) if dice.random() < 0.2 else None for _ in range(number)]
    with killed_at_end(shop.worker("-c", "2", name="left"), shop.worker("-c", "2", name="right")):
        runs = [shop.start(shapes.eight, {} if name is None else {name: ["no"]}) for name in refusing]
        until_all_ended(shop, number)

    assert ended(shop) == Counter("completed" if name is None else "compensated" for name in refusing)
    assert_nothing_is_open(shop)
    happened = effects(shop)
    for run, name in zip(runs, refusing, strict=True):
        assert_done_once(run, happened.get(str(run.id), Counter()), name)


def test_every_saga_of_many_ends_though_its_branches_are_killed_and_their_messages_lost(
    shop: Shop, number: int, dice: random.Random
) -> None:
    # Given: a tenth dies in a branch, a tenth is refused by one, and the broker forgets everything in the middle
    scripts = [
        {dice.choice(BRANCHES): [dice.choice(["die", "after:die", "flaky", "no"])]} if dice.random() < 0.2 else {}
        for _ in range(number)
    ]
    with killed_at_end(shop.worker("-c", "2", name="left"), shop.worker("-c", "2", name="right")):
        runs = [shop.start(shapes.eight, script) for script in scripts]
        eventually(lambda: ended(shop).total() > number / 4, "a quarter to end", 60 + number)
        queues.forget_everything(shop.sagas)
        until_all_ended(shop, number)

    refused = [["no"] in script.values() for script in scripts]
    assert [run.status.value for run in runs] == ["compensated" if no else "completed" for no in refused]
    assert_nothing_is_open(shop)
    happened = effects(shop)
    for run, script in zip(runs, scripts, strict=True):
        ((branch, behaviour),) = list(script.items()) or [("none", ["ok"])]
        # What died after its effect had it again, under the same key.
        expected = 2 if behaviour == ["after:die"] else 1
        if behaviour != ["no"]:
            assert happened[str(run.id)] == dict.fromkeys([*BRANCHES, "last"], 1) | (
                {branch: expected} if branch != "none" else {}
            )
