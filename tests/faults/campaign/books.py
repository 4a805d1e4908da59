"""What must be true after a campaign, as SQL: each invariant is a query for the rows that break it.

With each stands what its violations count as. A query gives the subject, an instance's id wherever there is one, and
what is wrong with it. What the campaign has spoilt by hand (`bank.excluded`) counts for the money alone.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.campaign.business import THROUGH_STEP
from tests.faults.campaign.event_books import OF_EVENTS, VIEWS_OF_EVENTS, Counts
from tests.faults.campaign.planned_sagas import planned_saga
from tests.faults.campaign.remittance import THROUGH_DELIVERY

VIEWS = """
CREATE OR REPLACE VIEW bank.audited AS
SELECT instance.*, coalesce(instance.parent_id, instance.id) AS root
FROM sagas.saga_instance AS instance
WHERE NOT EXISTS (SELECT FROM bank.excluded WHERE saga_id IN (instance.id, instance.parent_id));

-- How often each effect was undone, and what is left of it on the accounts.
CREATE OR REPLACE VIEW bank.standing AS
SELECT effect.*, undos.undone,
       amount * ((target IS NOT NULL)::int - (source IS NOT NULL)::int) * (1 - undos.undone) AS remains
FROM bank.effect CROSS JOIN LATERAL (
    SELECT count(*) AS undone FROM bank.undo WHERE action_key = effect.key AND undid
) AS undos;

-- Every step of every plan that a worker runs, with its action's row; and every delivery of a choreographed run.
CREATE OR REPLACE VIEW bank.planned AS
SELECT instance.id, instance.saga, instance.status AS ended, instance.id || ':' || (plan.step ->> 'name') AS key,
       plan.step ->> 'name' AS name, plan.step ->> 'task' AS task, plan.step ->> 'kind' AS kind,
       plan.step ->> 'compensation' AS compensation,
       coalesce((plan.step ->> 'best_effort')::boolean, false) AS best_effort,
       plan.step ->> 'task' <> 'campaign.confirm' AS has_effect,
       plan.step ->> 'task' = ANY ({through_step}) AS through_step,
       action.status, action.doubt, action.result
FROM bank.audited AS instance
CROSS JOIN LATERAL jsonb_array_elements(
    CASE jsonb_typeof(instance.plan -> 'steps') WHEN 'array' THEN instance.plan -> 'steps' ELSE '[]' END) AS plan (step)
LEFT JOIN sagas.saga_step AS action
    ON action.instance_id = instance.id AND action.name = plan.step ->> 'name' AND action.round = 0
WHERE plan.step ->> 'task' IS NOT NULL
UNION ALL
SELECT instance.id, instance.saga, instance.status, action.event_id || ':' || action.name, action.name, action.task,
       'compensatable', CASE WHEN action.name IN ('withdraw', 'deposit') THEN 'its undo' END, false, true,
       action.task = ANY ({through_step}), action.status, action.doubt, NULL
FROM bank.audited AS instance JOIN sagas.saga_step AS action ON action.instance_id = instance.id
WHERE action.event_id IS NOT NULL AND action.round = 0;
"""

OF_SAGAS: dict[str, tuple[Counts, str]] = {
    "the money is constant": (
        Counts.WRONG,
        """
        SELECT 'all accounts', format('%s in the accounts, %s in transit, and there were %s', there, -moved, opened)
        FROM (SELECT (SELECT sum(balance) FROM bank.account) AS there,
                     (SELECT sum(opening) FROM bank.account) AS opened,
                     (SELECT coalesce(sum(remains), 0) FROM bank.standing) AS moved) AS totals
        WHERE there - moved <> opened
    """,
    ),
    "every balance is what the ledger says": (
        Counts.WRONG,
        """
        SELECT 'account ' || account.id, format('%s, and the ledger says %s', balance, opening + coalesce(change, 0))
        FROM bank.account LEFT JOIN (
            SELECT id, sum(change) AS change FROM (
                SELECT source AS id, -amount * (1 - undone) AS change FROM bank.standing WHERE source IS NOT NULL
                UNION ALL SELECT target, amount * (1 - undone) FROM bank.standing WHERE target IS NOT NULL
            ) AS entries GROUP BY id
        ) AS ledger USING (id)
        WHERE balance <> opening + coalesce(change, 0)
    """,
    ),
    "no balance is below zero": (
        Counts.WRONG,
        "SELECT 'account ' || id, balance::text FROM bank.account WHERE balance < 0",
    ),
    "one effect for each idempotency key": (
        Counts.TWICE,
        """
        SELECT min(saga_id::text), format('%s effects of %s', count(*), key)
        FROM bank.effect GROUP BY key HAVING count(*) > 1
    """,
    ),
    "nothing is tried twice that the step's transaction has committed": (
        Counts.TWICE,
        """
        SELECT instance_id::text, step FROM sagas.saga_event WHERE detail ->> 'message' LIKE '%one_row_an_effect%'
    """,
    ),
    "an effect through the step's transaction is there exactly when its step is completed": (
        Counts.LOST,
        """
        SELECT planned.id::text, format('%s is %s, its effect %s', planned.name, coalesce(planned.status, 'unborn'),
                                  CASE WHEN effect.key IS NULL THEN 'missing' ELSE 'there' END)
        FROM bank.planned LEFT JOIN bank.effect USING (key)
        WHERE planned.through_step AND (effect.key IS NOT NULL) <> (coalesce(planned.status, '') = 'completed')
    """,
    ),
    "a completed saga has exactly the effects of its steps that were not skipped": (
        Counts.LOST,
        """
        SELECT id::text, format('%s is %s, and has %s effects', name, coalesce(planned.status, 'unborn'),
                                coalesce(effects, 0))
        FROM bank.planned LEFT JOIN (
            SELECT key, count(*) FILTER (WHERE undone = 0) AS effects FROM bank.standing GROUP BY key
        ) AS standing USING (key)
        WHERE ended = 'completed' AND has_effect AND CASE
            WHEN planned.status = 'completed' THEN coalesce(effects, 0) <> 1
            WHEN planned.status = 'skipped' THEN coalesce(effects, 0) <> 0
            WHEN planned.status = 'failed' AND best_effort THEN coalesce(effects, 0) <> 0 AND NOT planned.doubt
            ELSE true END
    """,
    ),
    "every effect belongs to a step that ran": (
        Counts.WRONG,
        """
        SELECT effect.saga_id::text, effect.step FROM bank.effect
        WHERE NOT EXISTS (SELECT FROM bank.planned
                          WHERE key = effect.key AND status IN ('completed', 'failed', 'running'))
          AND NOT EXISTS (SELECT FROM bank.excluded JOIN sagas.saga_instance AS instance
                          ON saga_id IN (instance.id, instance.parent_id) WHERE instance.id = effect.saga_id)
    """,
    ),
    "a compensated saga has undone each of its effects": (
        Counts.LOST,
        """
        SELECT planned.id::text, planned.name FROM bank.planned JOIN bank.standing USING (key)
        WHERE ended = 'compensated' AND undone = 0
          AND (compensation IS NOT NULL OR coalesce(source, target) IS NOT NULL)
    """,
    ),
    "no effect is undone twice": (
        Counts.TWICE,
        """
        SELECT saga_id::text, format('%s was undone %s times', step, undone) FROM bank.standing WHERE undone > 1
    """,
    ),
    "nothing of a completed saga is undone": (
        Counts.LOST,
        """
        SELECT planned.id::text, planned.name FROM bank.planned JOIN bank.standing USING (key)
        WHERE ended = 'completed' AND undone > 0
    """,
    ),
    # Started is what is claimed: branches whose bodies begin the other way round may be undone in either order.
    "undos come in the reverse order of the starts": (
        Counts.WRONG,
        """
        SELECT instance.root::text, format('%s was done before %s was claimed, and undone first', one.key, other.key)
        FROM bank.audited AS instance JOIN bank.audited AS relative ON relative.root = instance.root
        JOIN bank.effect AS one ON one.saga_id = instance.id JOIN bank.effect AS other ON other.saga_id = relative.id
        JOIN sagas.saga_step AS start ON start.instance_id = other.saga_id AND start.name = other.step AND round = 0
        JOIN bank.undo AS undo_of_one ON undo_of_one.action_key = one.key AND undo_of_one.undid
        JOIN bank.undo AS undo_of_other ON undo_of_other.action_key = other.key AND undo_of_other.undid
        WHERE one.key <> other.key AND NOT coalesce((instance.plan ->> 'undo_at_once')::boolean, false)
          AND one.at < start.first_claimed_at AND undo_of_one.at < undo_of_other.at
    """,
    ),
    "every saga ends": (
        Counts.STUCK,
        """
        SELECT id::text, format('still %s, due at %s', status, due_at) FROM bank.audited AS instance
        WHERE status NOT IN ('completed', 'compensated', 'failed')
    """,
    ),
    "a saga fails only where the campaign made it impossible to go on": (
        Counts.WRONG,
        """
        SELECT instance.id::text, coalesce(instance.error ->> 'message', 'no reason') FROM bank.audited AS instance
        WHERE status = 'failed' AND NOT (
            (data ? 'impossible' AND EXISTS (
                SELECT FROM sagas.saga_step AS undo WHERE undo.instance_id = instance.id AND undo.round > 0
                AND undo.status = 'failed' AND undo.name = 'withdraw'))
            -- A pivot that may have happened, and then says no: nobody but a person can tell.
            OR EXISTS (SELECT FROM bank.planned WHERE planned.id = instance.id AND kind = 'pivot'
                       AND planned.status = 'failed' AND planned.doubt
                       AND instance.data -> 'script' ->> planned.name = 'before:no'))
    """,
    ),
    "no start is lost": (
        Counts.LOST,
        """
        SELECT returned.key, format('start returned %s, there is %s', saga_id, coalesce(instance.id::text, 'nothing'))
        FROM bank.returned LEFT JOIN sagas.saga_instance AS instance ON instance.key = returned.key AND current
        WHERE instance.id IS DISTINCT FROM returned.saga_id
    """,
    ),
    "a start and its transaction are one": (
        Counts.LOST,
        """
        SELECT key, CASE WHEN instance.id IS NULL THEN 'committed without its saga' ELSE 'a saga without its intent' END
        FROM (SELECT key FROM bank.planned_saga WHERE joined) AS joined
        LEFT JOIN bank.intent USING (key) LEFT JOIN sagas.saga_instance AS instance USING (key)
        WHERE (intent.key IS NULL) <> (instance.id IS NULL)
    """,
    ),
    "what was rolled back or not planned is not there": (
        Counts.WRONG,
        """
        SELECT id::text, format('key %s', key) FROM sagas.saga_instance
        WHERE parent_id IS NULL AND key NOT IN (SELECT key FROM bank.planned_saga)
        UNION ALL SELECT key, 'its transaction committed' FROM bank.intent
                  WHERE key NOT IN (SELECT key FROM bank.planned_saga)
    """,
    ),
    "keys are unique": (
        Counts.TWICE,
        """
        SELECT min(id::text), format('%s instances of %s %s', count(*), saga, key)
        FROM sagas.saga_instance WHERE key IS NOT NULL GROUP BY saga, key HAVING count(*) > 1
    """,
    ),
    "no action is claimed once compensation has begun": (
        Counts.WRONG,
        """
        SELECT action.instance_id::text, format('%s was claimed at %s, the first undo at %s', action.name,
                                                action.claimed_at, undone.since)
        FROM bank.audited AS instance JOIN sagas.saga_step AS action ON action.instance_id = instance.id
        JOIN (SELECT instance_id, min(first_claimed_at) AS since FROM sagas.saga_step WHERE round > 0
              GROUP BY instance_id) AS undone ON undone.instance_id = instance.id
        WHERE action.round = 0 AND action.claimed_at > undone.since
          AND (action.event_id IS NULL OR action.name IN ('withdraw', 'deposit'))
    """,
    ),
    "what never may run twice never does": (
        Counts.TWICE,
        """
        SELECT split_part(begun.key, ':', 1), format('%s began %s times', begun.key, count(*))
        FROM bank.begun JOIN bank.audited AS instance ON begun.key = instance.id || ':withdraw'
        WHERE saga = 'careful' GROUP BY begun.key HAVING count(*) > 1
    """,
    ),
    "a completed step's result is what it returned": (
        Counts.LOST,
        """
        SELECT id::text, format('%s has %s', name, result) FROM bank.planned
        WHERE has_effect AND saga <> 'remittance' AND status = 'completed'
          AND result ->> (name || '_ref') IS DISTINCT FROM key
    """,
    ),
    "nothing of an ended saga is under way": (
        Counts.STUCK,
        """
        SELECT instance.id::text, coalesce(format('%s, round %s, is %s', step.name, step.round, step.status), 'is due')
        FROM bank.audited AS instance LEFT JOIN sagas.saga_step AS step
            ON step.instance_id = instance.id AND step.status IN ('held', 'pending', 'running')
        WHERE instance.status IN ('completed', 'compensated', 'failed')
          AND (step.name IS NOT NULL OR instance.due_at IS NOT NULL)
    """,
    ),
    "a child saga ends as its parent does": (
        Counts.WRONG,
        """
        SELECT parent.id::text, format('%s, its child %s', parent.status, child.status)
        FROM bank.audited AS child JOIN bank.audited AS parent ON parent.id = child.parent_id
        WHERE parent.status IN ('completed', 'compensated') AND child.status <> parent.status
    """,
    ),
    "a lock is held by one saga at a time": (
        Counts.WRONG,
        """
        SELECT id::text, format('from %s on, while another one had account %s until %s', since, account, before)
        FROM (SELECT *, max(until) OVER (PARTITION BY account ORDER BY since
                                         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
              FROM bank.held) AS held
        WHERE since < before
    """,
    ),
    "no more sagas run at once than may": (
        Counts.WRONG,
        """
        SELECT id::text, format('%s at once', others) FROM bank.held CROSS JOIN LATERAL (
            SELECT count(*) AS others FROM bank.held AS other
            WHERE other.since <= held.since AND other.until > held.since
        ) AS beside
        WHERE others > 8
    """,
    ),
}
INVARIANTS = OF_SAGAS | OF_EVENTS
#: Those that hold at every moment, not only in the end.
ALWAYS = ("the money is constant", "every balance is what the ledger says", "no balance is below zero")


@dataclass(frozen=True, slots=True)
class Violation:
    """One row that breaks an invariant."""

    invariant: str
    subject: str
    detail: str
    counts: Counts = Counts.WRONG

    def __str__(self) -> str:
        return f"{self.invariant}: {self.subject}: {self.detail}"


def make_views(cursor: Any) -> None:
    """What the invariants read."""
    tasks = ", ".join(f"'campaign.{name}'" for name in (*THROUGH_STEP, *THROUGH_DELIVERY))
    cursor.execute(VIEWS.replace("{through_step}", f"ARRAY[{tasks}]") + VIEWS_OF_EVENTS)


def insert_planned(cursor: Any, seed: int, total: int) -> None:
    """All that the starter may have started."""
    plans = [planned_saga(seed, number) for number in range(total)]
    cursor.execute(
        "INSERT INTO bank.planned_saga SELECT * FROM unnest(%s::text[], %s::boolean[])",
        ([planned.key for planned in plans], [planned.joined for planned in plans]),
    )


def returned(cursor: Any, lines: Iterable[str]) -> int:
    """The starts that returned, by the starter's file; a kill may have cut a line short. Returns how many."""
    complete = [line.split() for line in lines if re.fullmatch(r"\S+ \S+ \.", line)]
    cursor.execute(
        "INSERT INTO bank.returned SELECT * FROM unnest(%s::text[], %s::uuid[])",
        ([key for key, *_ in complete], [saga_id for _, saga_id, _ in complete]),
    )
    return len(complete)


def audit(cursor: Any, names: Sequence[str] = tuple(INVARIANTS)) -> list[Violation]:
    """Whatever breaks one of these invariants."""
    found = []
    for name in names:
        # By itself: a `%` of `format` is no placeholder.
        counts, query = INVARIANTS[name]
        cursor.execute(query)
        found += [Violation(name, str(subject), str(detail), counts) for subject, detail in cursor.fetchall()]
    return found
