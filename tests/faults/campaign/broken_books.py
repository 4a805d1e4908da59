"""Books that are wrong on purpose, one way for each invariant: what a campaign would have to find.

What is written here no run of the library has left behind; it is what the invariants are there for.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

STEPS: dict[str, dict[str, object]] = {
    "withdraw": {"task": "campaign.withdraw", "kind": "compensatable", "compensation": "campaign.undo"},
    "deposit": {"task": "campaign.deposit_in_step", "kind": "compensatable", "compensation": "campaign.undo_in_step"},
    "notify": {"task": "campaign.notify", "kind": "retriable", "best_effort": True},
    "confirm": {"task": "campaign.confirm", "kind": "compensatable"},
}
AMOUNT = 30


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How one step went. Moments are seconds from the saga's beginning.

    Attributes:
        undos: how many of its undos say that they undid it.
        claimed: its last claim.
        account: whose money it takes or gives.
    """

    name: str = "withdraw"
    status: str = "completed"
    doubt: bool = False
    effects: int = 1
    undos: int = 0
    first_claimed: float = 1.0
    claimed: float = 1.0
    undone: float = 20.0
    result: str | None = None
    account: int = 1
    amount: int = AMOUNT


WITHDREW, DEPOSITED = Ran(), Ran(name="deposit", first_claimed=2.0, claimed=2.0, account=2)
WITHDREW_UNDONE, DEPOSITED_UNDONE = Ran(undos=1, undone=21.0), Ran(name="deposit", undos=1, account=2, claimed=2.0)


@dataclass
class Books:
    """Writes into the tables of the library and of the bank, always both sides of the money."""

    cursor: Any
    written: list[UUID] = field(default_factory=list)

    def saga(
        self,
        *ran: Ran,
        saga: str = "transfer",
        status: str = "completed",
        key: str | None = None,
        planned: bool = True,
        joined: bool = False,
        intent: bool = False,
        current: bool = True,
        began: float = 0.0,
        lasted: float = 30.0,
        parent: UUID | None = None,
        **data: Any,
    ) -> UUID:
        """An instance with its steps, effects and undos."""
        saga_id, ended = uuid4(), status in ("completed", "compensated", "failed")
        key = key or f"key of {saga_id}"
        plan = {"steps": [{"name": step.name, **STEPS[step.name]} for step in ran]}
        self.execute(
            "INSERT INTO sagas.saga_instance (id, saga, version, key, current, status, plan, plan_hash, data, pending, "
            "parent_id, due_at, finished_at) VALUES (%s, %s, 1, %s, %s, %s, %s, '', %s, 0, %s, "
            "CASE WHEN %s THEN NULL ELSE clock_timestamp() END, "
            "CASE WHEN %s THEN 'epoch'::timestamptz + %s * interval '1 s' END)",
            *(saga_id, saga, None if parent else key, current, status, json.dumps(plan), json.dumps(data), parent),
            *(ended, ended, began + lasted),
        )
        if planned and not parent:
            self.execute("INSERT INTO bank.planned_saga VALUES (%s, %s) ON CONFLICT DO NOTHING", key, joined)
        if intent:
            self.execute("INSERT INTO bank.intent (key) VALUES (%s)", key)
        for position, step in enumerate(ran):
            self._step(saga_id, position, step, began)
        self.written.append(saga_id)
        return saga_id

    def run(self, *numbers: int, status: str = "completed", handled: bool = True) -> UUID:
        """A choreographed run with notes of these numbers, each of which was entered a second after the one before."""
        run = self.saga(saga="remittance", status=status)
        for second, number in enumerate(numbers, 1):
            event = self.event(run, number)
            if handled:
                self.entered(run, number, event, at=float(second))
        return run

    def event(self, run: UUID, number: int | None, *, letter: str | None = None) -> UUID:
        event = uuid4()
        self.execute(
            "INSERT INTO sagas.saga_inbox (instance_id, kind, name, key, payload, event_id, version, number, letter, "
            "seen_at, consumed_at) VALUES (%s, 'event', 'Noted', %s, '{}', %s, 1, %s, %s, now(), now())",
            *(run, f"note {number}", event, number, letter),
        )
        return event

    def entered(self, run: UUID, number: int, event: UUID, *, at: float) -> None:
        self.row(run, number, 0, "enter", "completed", at, at)
        self.execute(
            "UPDATE sagas.saga_step SET event_id = %s, task = 'campaign.enter' "
            "WHERE instance_id = %s AND position = %s",
            *(event, run, number),
        )
        self.effect(run, "enter", None, None, amount=1, at=at, key=f"{event}:enter")

    def _step(self, saga_id: UUID, position: int, step: Ran, began: float) -> None:
        key = f"{saga_id}:{step.name}"
        result = json.dumps({f"{step.name}_ref": step.result or key}) if step.status == "completed" else None
        self.row(saga_id, position, 0, step.name, step.status, began + step.first_claimed, began + step.claimed)
        self.execute(
            "UPDATE sagas.saga_step SET result = %s, doubt = %s WHERE instance_id = %s AND position = %s AND round = 0",
            *(result, step.doubt, saga_id, position),
        )
        sides = (None, step.account) if step.name == "deposit" else (step.account, None)
        for _ in range(step.effects):
            self.effect(saga_id, step.name, *sides, amount=step.amount, at=began + step.first_claimed + 0.1)
        for number in range(step.undos):
            self.undo(saga_id, step, number, at=began + step.undone)

    def row(
        self, saga_id: UUID, position: int, round: int, name: str, status: str, first: float, claimed: float
    ) -> None:
        """One row of the steps."""
        self.execute(
            "INSERT INTO sagas.saga_step (instance_id, position, branch, round, name, timeout, status, token, "
            "first_claimed_at, claimed_at, finished_at) VALUES (%s, %s, 0, %s, %s, 60, %s, %s, "
            "'epoch'::timestamptz + %s * interval '1 s', 'epoch'::timestamptz + %s * interval '1 s', "
            "CASE WHEN %s THEN 'epoch'::timestamptz + %s * interval '1 s' END)",
            *(saga_id, position, round, name, status, uuid4(), first, claimed),
            *(status in ("completed", "failed", "skipped"), claimed + 0.2),
        )

    def effect(
        self,
        saga_id: UUID,
        step: str,
        source: int | None,
        target: int | None,
        *,
        amount: int,
        at: float,
        key: str | None = None,
    ) -> None:
        """One effect, and its money."""
        self.execute(
            "INSERT INTO bank.effect (key, saga_id, step, source, target, amount, through_step, at) VALUES "
            "(%s, %s, %s, %s, %s, %s, false, 'epoch'::timestamptz + %s * interval '1 s')",
            *(key or f"{saga_id}:{step}", saga_id, step, source, target, amount, at),
        )
        self.pay(source, -amount)
        self.pay(target, amount)

    def undo(self, saga_id: UUID, step: Ran, number: int, *, at: float) -> None:
        """One undo that undid it; the money goes back as often as there were effects."""
        key = f"{saga_id}:{step.name}"
        self.execute(
            "INSERT INTO bank.undo (key, action_key, saga_id, step, undid, at) VALUES "
            "(%s, %s, %s, %s, true, 'epoch'::timestamptz + %s * interval '1 s')",
            *(f"comp:{key}:{number}", key, saga_id, step.name, at),
        )
        self.pay(step.account, (-1 if step.name == "deposit" else 1) * step.amount * step.effects)

    def pay(self, account: int | None, change: int) -> None:
        self.execute("UPDATE bank.account SET balance = balance + %s WHERE id = %s", change, account)

    def execute(self, statement: str, *values: Any) -> None:
        self.cursor.execute(statement, tuple(str(it) if isinstance(it, UUID) else it for it in values))


def in_order(books: Books) -> None:
    """Of everything one that is as it must be, so that no invariant holds for want of rows."""
    books.saga(WITHDREW, DEPOSITED, joined=True, intent=True)
    books.saga(WITHDREW_UNDONE, DEPOSITED_UNDONE, status="compensated")
    family = books.saga(WITHDREW, saga="family")
    books.saga(DEPOSITED, saga="lodging", parent=family)
    careful = books.saga(WITHDREW, saga="careful")
    books.execute("INSERT INTO bank.begun VALUES (%s)", f"{careful}:withdraw")
    for began in (0.0, 100.0):
        books.saga(WITHDREW, saga="exclusive", account=3, began=began)
    books.saga(Ran(name="notify", status="failed", effects=0))
    failed = books.saga(Ran(), status="failed", impossible="raise")
    books.row(failed, 0, 1, "withdraw", "failed", 10.0, 10.0)
    books.execute("INSERT INTO bank.returned VALUES ('a start', %s)", books.saga(key="a start"))
    run = books.run(1, 2)
    books.event(run, 3, letter="late")
    for number in (1, 2, 3):
        publish(books, run, number)


def publish(books: Books, run: UUID, number: int) -> None:
    """It returned to the starter that a note was published, in a transaction of the starter's own."""
    of_it = f"SELECT key, 'note {number}' FROM sagas.saga_instance WHERE id = %s"
    books.execute(f"INSERT INTO bank.noted {of_it}", run)
    books.execute(f"INSERT INTO bank.published {of_it.replace(' FROM', ', true FROM')}", run)


SPOILERS: dict[str, Callable[[Books], None]] = {}
#: What cannot be broken without another one.
BREAKS_TOO = {"the money is constant": {"every balance is what the ledger says"}}


def breaks(invariant: str) -> Callable[[Callable[[Books], None]], Callable[[Books], None]]:
    def register(spoil: Callable[[Books], None]) -> Callable[[Books], None]:
        SPOILERS[invariant] = spoil
        return spoil

    return register


@breaks("the money is constant")
def money_from_nowhere(books: Books) -> None:
    books.pay(1, 5)


@breaks("every balance is what the ledger says")
def money_moved_past_the_ledger(books: Books) -> None:
    books.pay(1, -5)
    books.pay(2, 5)


@breaks("no balance is below zero")
def overdrawn(books: Books) -> None:
    books.execute("ALTER TABLE bank.account DROP CONSTRAINT no_balance_below_zero")
    books.saga(Ran(account=201))


@breaks("one effect for each idempotency key")
def two_effects(books: Books) -> None:
    books.execute("ALTER TABLE bank.effect DROP CONSTRAINT one_row_an_effect")
    books.saga(Ran(effects=2, undos=1), status="compensated")


@breaks("nothing is tried twice that the step's transaction has committed")
def tried_again(books: Books) -> None:
    books.execute(
        "INSERT INTO sagas.saga_event (instance_id, event, step, detail) VALUES (%s, 'attempt_failed', 'deposit', %s)",
        *(books.saga(WITHDREW, DEPOSITED), json.dumps({"message": 'violates unique constraint "one_row_an_effect"'})),
    )


@breaks("an effect through the step's transaction is there exactly when its step is completed")
def effect_without_completion(books: Books) -> None:
    books.saga(Ran(name="deposit", status="failed", doubt=True, undos=1), status="compensated")


@breaks("a completed saga has exactly the effects of its steps that were not skipped")
def completed_without_effect(books: Books) -> None:
    books.saga(Ran(effects=0))


@breaks("every effect belongs to a step that ran")
def effect_of_nobody(books: Books) -> None:
    books.effect(books.saga(), "withdraw", 1, None, amount=1, at=1.0)


@breaks("a compensated saga has undone each of its effects")
def not_undone(books: Books) -> None:
    books.saga(WITHDREW, status="compensated")


@breaks("no effect is undone twice")
def undone_twice(books: Books) -> None:
    books.saga(Ran(undos=2), status="compensated")


@breaks("nothing of a completed saga is undone")
def undone_though_completed(books: Books) -> None:
    books.saga(Ran(name="notify", status="failed", undos=1))


@breaks("undos come in the reverse order of the starts")
def undone_in_order(books: Books) -> None:
    books.saga(Ran(undos=1, undone=20.0), Ran(name="deposit", undos=1, undone=21.0, first_claimed=2.0, claimed=2.0),
               status="compensated")  # fmt: skip


@breaks("every saga ends")
def still_running(books: Books) -> None:
    books.saga(WITHDREW, status="running")


@breaks("a saga fails only where the campaign made it impossible to go on")
def failed_for_nothing(books: Books) -> None:
    books.saga(WITHDREW, status="failed")


@breaks("no start is lost")
def lost_start(books: Books) -> None:
    books.execute("INSERT INTO bank.returned VALUES ('nobody has it', %s)", uuid4())


@breaks("a start and its transaction are one")
def saga_without_its_transaction(books: Books) -> None:
    books.saga(joined=True)


@breaks("what was rolled back or not planned is not there")
def not_planned(books: Books) -> None:
    books.saga(planned=False)


@breaks("keys are unique")
def same_key(books: Books) -> None:
    for current in (True, False):
        books.saga(key="the same", current=current)


@breaks("no action is claimed once compensation has begun")
def claimed_late(books: Books) -> None:
    late = books.saga(Ran(claimed=12.0, undos=1), status="compensated")
    books.row(late, 0, 1, "withdraw", "completed", 10.0, 10.0)


@breaks("what never may run twice never does")
def careful_twice(books: Books) -> None:
    key = f"{books.saga(WITHDREW, saga='careful')}:withdraw"
    books.execute("INSERT INTO bank.begun VALUES (%s), (%s)", key, key)


@breaks("a completed step's result is what it returned")
def wrong_result(books: Books) -> None:
    books.saga(Ran(result="somebody else's"))


@breaks("nothing of an ended saga is under way")
def ended_and_running(books: Books) -> None:
    books.row(books.saga(WITHDREW), 1, 0, "deposit", "running", 2.0, 2.0)


@breaks("the events of a run have numbers without a gap")
def gap(books: Books) -> None:
    books.run(1, 3)


@breaks("no event of a run that has ended waits for its number")
def without_number(books: Books) -> None:
    books.event(books.run(1), None)


@breaks("no event that was published is lost")
def event_lost(books: Books) -> None:
    of_it = "SELECT key, 'note 7', false FROM sagas.saga_instance WHERE id = %s"
    books.execute(f"INSERT INTO bank.published {of_it}", books.run(1))


@breaks("an event and its transaction are one")
def transaction_without_its_event(books: Books) -> None:
    books.execute("INSERT INTO bank.noted SELECT key, 'note 7' FROM sagas.saga_instance WHERE id = %s", books.run(1))


@breaks("the events of a run are handled in their order")
def out_of_order(books: Books) -> None:
    books.run(2, 1)


@breaks("a handler gets each event that came in time")
def not_delivered(books: Books) -> None:
    books.run(1, handled=False)


@breaks("nothing but what comes too late is a dead letter")
def too_many(books: Books) -> None:
    books.event(books.run(1), 2, letter="too many")


@breaks("a child saga ends as its parent does")
def child_left_behind(books: Books) -> None:
    parent = books.saga(WITHDREW, saga="family")
    books.saga(Ran(name="deposit", undos=1), saga="lodging", status="compensated", parent=parent)


@breaks("a lock is held by one saga at a time")
def lock_held_twice(books: Books) -> None:
    for began in (0.0, 10.0):
        books.saga(WITHDREW, saga="exclusive", account=5, began=began)


@breaks("no more sagas run at once than may")
def too_many_at_once(books: Books) -> None:
    for number in range(9):
        books.saga(WITHDREW, saga="exclusive", account=10 + number, began=1000.0)
