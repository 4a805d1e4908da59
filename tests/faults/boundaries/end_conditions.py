"""The conditions that hold for every saga at its end, wherever its process died."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any
from uuid import UUID

from sagas import SagaHandle, SagaStatus
from tests.faults.boundaries import planned_faults
from tests.faults.boundaries.planned_faults import Passage
from tests.faults.boundaries.workloads import Workload
from tests.support import journal
from tests.support.workers import eventually

#: It has asked for its claim, of a step or of a delivery.
CLAIMED = frozenset({"CLAIM:after", "CLAIM_DELIVERY:after"})
#: What makes an execution's end known: the loop's commit; for an action its completion, or the commit of that.
BY_LOOP = frozenset({"commit of LOCK_INSTANCE:after"})
BY_STATEMENT = frozenset({"COMPLETE:after", "COMPLETE_DELIVERY:after"})
BY_ITSELF = frozenset({"commit of INSERT ledger:after"})
WITH_EVENTS = frozenset({"commit of SAVEPOINT:after"})
#: The undos of `tests.support.choreographed` and `tests.support.strict`, by their handlers.
UNDOS = {"reserve": "release", "charge": "refund", "deliver": "take_back"}
#: How long a saga may hold on to something after its end, in seconds.
AFTERWARDS = 30.0
#: What a dead process cannot have caused.
FALSE_NOTES = frozenset({"late_success", "late_failure", "given_up_in_doubt"})


@dataclass(frozen=True)
class Execution:
    """One delivery of a step, as far as it came."""

    step: str
    points: tuple[str, ...]
    struck: bool

    @property
    def has_ended(self) -> bool:
        return "task:after" in self.points and not self.struck

    @property
    def may_be_lost(self) -> bool:
        """It had asked for its claim when it was struck, and could not tell how it ended."""
        return self.struck and bool(CLAIMED & set(self.points)) and not self.recorded_by & set(self.points)

    @property
    def is_lost(self) -> bool:
        """It held its claim: whoever gets none asks the loop at once what is to be done."""
        claimed = next((number for number, what in enumerate(self.points, 1) if what in CLAIMED), 0)
        after = self.points[claimed:] if self.may_be_lost else ()
        return bool(after) and after[0] != "LOCK_INSTANCE:before"

    @property
    def recorded_by(self) -> frozenset[str]:
        """Whatever makes its end known."""
        if not self.step.endswith(".0"):
            return BY_LOOP  # an undo commits its own writes first: it may be run again, but not be forgotten
        if "INSERT ledger:before" in self.points:
            return BY_LOOP | BY_ITSELF
        if "SAVEPOINT:before" in self.points:
            return BY_LOOP | WITH_EVENTS
        # A statement that did nothing is followed by a question: about the token, or of a delivery by the loop.
        asks = {"OWN_TOKEN:before"} | ({"LOCK_INSTANCE:before"} if "CLAIM_DELIVERY:after" in self.points else set())
        return BY_LOOP if asks & set(self.points) else BY_LOOP | BY_STATEMENT


def executions(passages: Sequence[Passage]) -> list[Execution]:
    """What the processes of a saga executed, each from its message on."""
    found: list[tuple[str, list[Passage]]] = []
    current: dict[int, tuple[str, list[Passage]]] = {}
    for passage in passages:
        if passage.what == "task:before" and passage.step is not None:
            current[passage.pid] = (passage.step, [])
            found.append(current[passage.pid])
        if passage.pid in current and current[passage.pid][0] == passage.step:
            current[passage.pid][1].append(passage)
    return [Execution(step, tuple(it.what for it in passed), any(it.struck for it in passed)) for step, passed in found]


def judge(run: SagaHandle, workload: Workload, url: str, *, exactly: bool) -> None:
    """Assert it of a saga that has ended.

    Args:
        exactly: only the process that was to die did so; else its whole worker, at moments that nobody chose.
    """
    exactly = exactly and workload.exact
    told = run.timeline()
    rows = steps(url, run.id)
    ends = workload.ends
    if any(row["losses"] for row in rows if row["effect"] == workload.never_twice):
        ends = SagaStatus.COMPENSATED
        assert all(row["attempts"] == 1 for row in rows if row["effect"] == workload.never_twice), told
    assert run.status is ends, told
    assert_nothing_is_left(url, run.id, told)
    effects = journal.effects(url, run.id)
    if workload.ledger is not None:
        assert journal.ledger(url, run.id) == workload.ledger, told
    for row in rows:
        assert_ran_as_often_as_it_had_to(row, workload, executions(planned_faults.passages(url, run.id)), exactly, told)
        done = effects.count(row["effect"])
        assert done <= row["attempts"], f"{row['effect']} happened {done} times\n{told}"
        if row["status"] == "completed" and row["task"]:
            assert done >= 1, f"{row['effect']} is completed and never happened\n{told}"
    if ends is SagaStatus.COMPENSATED:
        assert_undone(rows, effects, workload.in_order, told)
    assert_one_key_each(url, run.id)
    assert_notes(run, workload, told)


def judge_run(run: SagaHandle, workload: Workload, url: str, *, exactly: bool) -> None:
    """Assert it of a choreographed run that has ended: each event is there once, and each handler had it once."""
    told = run.timeline()
    rows = steps(url, run.id)
    assert run.status is workload.ends, told
    assert_nothing_is_left(url, run.id, told)
    assert events(url, run.id) == list(enumerate(workload.events, 1)), told
    assert dead_letters(url, run.id) == [], told
    if workload.ledger is not None:
        assert journal.ledger(url, run.id) == workload.ledger, told
    ran = executions(planned_faults.passages(url, run.id))
    for row in rows:
        assert_ran_as_often_as_it_had_to(row, workload, ran, exactly and workload.exact, told)
    effects = [what.partition(" ")[0] for what in journal.effects(url, run.id) if " for " not in what]
    of_the_application = (row for row in rows if not row["name"].startswith("start."))
    for task, group in groupby(sorted(of_the_application, key=task_of), key=task_of):
        of_task = list(group)
        least = sum(row["status"] == "completed" for row in of_task)
        assert least <= effects.count(task) <= sum(row["attempts"] for row in of_task), f"{task} happened\n{told}"
    if workload.ends is SagaStatus.COMPENSATED:
        assert_closed_are_undone(rows, effects, told)
    assert_one_key_each(url, run.id)
    assert_notes(run, workload, told)


def assert_closed_are_undone(rows: Sequence[dict[str, Any]], effects: Sequence[str], told: str) -> None:
    """What a handler with an undo did, or may have done, is undone after it."""
    undos = {row["name"]: task_of(row) for row in rows if row["round"]}
    for action, undo in UNDOS.items():
        happened = [row for row in rows if row["name"] == action and not row["round"]]
        if any(row["status"] == "completed" or row["doubt"] for row in happened):
            assert undos.get(action) == undo, f"{action} was not undone\n{told}"
        if action in effects:
            later = effects[len(effects) - effects[::-1].index(action) :]
            assert undo in later, f"{action} was not undone after it\n{told}"


def task_of(row: dict[str, Any]) -> str:
    return str(row["task"]).rpartition(".")[2]


def events(url: str, run_id: UUID) -> list[tuple[int, str]]:
    """The events of a run, by their numbers."""
    numbered = "SELECT number, name FROM sagas.saga_inbox WHERE instance_id = %s AND kind = 'event' ORDER BY number"
    return journal.query(url, numbered, str(run_id))


def dead_letters(url: str, run_id: UUID) -> list[tuple[Any, ...]]:
    """What was given up, and what came too late, without an answer."""
    deliveries = "SELECT name FROM sagas.saga_step WHERE instance_id = %s AND dead_at IS NOT NULL"
    undelivered = (
        "SELECT name FROM sagas.saga_inbox WHERE instance_id = %s AND letter <> 'muted' AND acknowledged_at IS NULL"
    )
    return journal.query(url, f"{deliveries} UNION ALL {undelivered}", str(run_id), str(run_id))


def assert_notes(run: SagaHandle, workload: Workload, told: str) -> None:
    notes = {entry.event for entry in run.history()}
    assert not notes & FALSE_NOTES, told
    assert workload.needs_a_person or "needs_a_person" not in notes, told
    assert workload.sweep_fails or "sweep_failed" not in notes, told


def assert_nothing_is_left(url: str, saga_id: UUID, told: str) -> None:
    """No row that waits for anybody, no mail unread, nothing held; of its children neither."""
    family = "(SELECT id FROM sagas.saga_instance WHERE id = %(id)s OR parent_id = %(id)s)"
    for what, left in {
        "live executions": f"sagas.saga_step WHERE instance_id IN {family} AND finished_at IS NULL",
        "unread mail": f"sagas.saga_inbox WHERE instance_id IN {family} AND consumed_at IS NULL",
        "locks": f"sagas.saga_lock WHERE instance_id IN {family}",
        "due instances": f"sagas.saga_instance WHERE id IN {family} AND (due_at IS NOT NULL OR pending <> 0)",
    }.items():
        # What it held is let go by a transaction after its own, and if that dies by the next sweep.
        gone = partial(is_gone, url, f"SELECT count(*) FROM {left}", saga_id)
        eventually(gone, f"no {what} in\n{told}", AFTERWARDS)


def is_gone(url: str, statement: str, saga_id: UUID) -> bool:
    connection = journal.connect(url)
    try:
        cursor = connection.cursor()
        cursor.execute(statement, {"id": str(saga_id)})
        return bool(cursor.fetchone()[0] == 0)
    finally:
        connection.close()


def steps(url: str, saga_id: UUID) -> list[dict[str, Any]]:
    """Its executions' rows, in the order of their addresses."""
    columns = "position, branch, round, name, status, attempts, losses, doubt, task, first_claimed_at"
    rows = journal.query(
        url,
        f"SELECT {columns} FROM sagas.saga_step WHERE instance_id = %s ORDER BY position, branch, round",
        str(saga_id),
    )
    found = [dict(zip(columns.split(", "), row, strict=True)) for row in rows]
    for row in found:
        row["address"] = f"{row['position']}.{row['branch']}.{row['round']}"
        row["effect"] = f"undo {row['name']}" if row["round"] else row["name"]
    return found


def assert_ran_as_often_as_it_had_to(
    row: dict[str, Any], workload: Workload, ran: Sequence[Execution], exactly: bool, told: str
) -> None:
    """Lost exactly as often as a process died that held it; tried once, if its script says nothing else."""
    own = [it for it in ran if it.step == row["address"]]
    least = sum(it.is_lost for it in own) if exactly else 0
    most = sum(it.may_be_lost if exactly else not it.has_ended for it in own)
    assert least <= row["losses"] <= most, f"{row['effect']} was lost {row['losses']} times\n{told}"
    if row["task"] is None or row["status"] == "skipped":
        return
    # Once a saga turns back, what was lost is not tried again; nor when the budget of losses is used up.
    given_up = row["status"] == "failed" and row["losses"]
    tries = row["attempts"] - row["losses"]
    assert (0 if given_up else 1) <= tries <= workload.tries, f"{row['effect']} was tried {tries} times\n{told}"


def assert_undone(rows: Sequence[dict[str, Any]], effects: Sequence[str], in_order: bool, told: str) -> None:
    """Everything that happened or may have is undone, the last begun first, after the last action."""
    actions = [row for row in rows if row["round"] == 0 and row["first_claimed_at"] and row["task"]]
    begun = sorted(
        (row for row in actions if row["status"] == "completed" or row["doubt"]),
        key=lambda row: row["first_claimed_at"],
        reverse=True,
    )
    expected = [f"undo {row['name']}" for row in begun]
    undone = [what for what, _ in groupby(what for what in effects if what.startswith("undo "))]
    if in_order:
        assert undone == expected, told
    else:
        assert sorted(set(undone)) == sorted(expected), told
    for what in effects:
        assert what.startswith("undo ") or f"undo {what}" in undone, f"{what} was not undone\n{told}"
    first_undo = next((index for index, what in enumerate(effects) if what.startswith("undo ")), len(effects))
    assert all(what.startswith("undo ") for what in effects[first_undo:]), told


def assert_one_key_each(url: str, saga_id: UUID) -> None:
    """However often an effect happened, a service that honours its key has it once."""
    for what, keys in keys_of(url, saga_id):
        assert len(keys) == 1, f"{what} happened under the keys {keys}"


def keys_of(url: str, saga_id: UUID) -> Iterator[tuple[str, set[str]]]:
    entries = sorted(journal.entries(url, saga_id))
    for what, group in groupby(entries, key=lambda entry: entry[0]):
        yield what, {key for _, key in group}
