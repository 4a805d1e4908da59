"""How long until the steps of a killed worker run again elsewhere, and until those that lost their database end."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.faults.campaign.fault_environment import FaultEnvironment

#: Of the steps that a worker's process (or one of its children) has claimed and not ended.
HELD = """
SELECT step.instance_id::text, step.position, step.branch, step.round, step.token::text, clock_timestamp()
FROM sagas.saga_step AS step JOIN sagas.saga_worker AS worker ON worker.id = step.worker_id
WHERE step.status = 'running' AND worker.pid = %s AND worker.dead_at IS NULL
"""
#: How they stand now, and when it was noticed that their holder was dead.
LATER = """
SELECT lost.number, step.status, step.token::text, step.claimed_at, step.finished_at,
       (SELECT min(event.at) FROM sagas.saga_event AS event
        WHERE event.instance_id = step.instance_id AND event.position = step.position
          AND event.branch = step.branch AND event.round = step.round AND event.event = 'holder_lost'
          AND event.at > lost.since)
FROM unnest(%s::int[], %s::uuid[], %s::int[], %s::int[], %s::int[], %s::timestamptz[])
         AS lost (number, instance_id, position, branch, round, since)
JOIN sagas.saga_step AS step USING (instance_id, position, branch, round)
"""

#: Steps that somebody alive runs or is about to.
UNDER_WAY = """
SELECT step.instance_id::text, step.position, step.branch, step.round FROM sagas.saga_step AS step
LEFT JOIN sagas.saga_worker AS worker ON worker.id = step.worker_id
WHERE step.task IS NOT NULL AND worker.dead_at IS NULL
  AND (step.status = 'running' OR step.status = 'pending' AND step.dispatched_at IS NOT NULL AND step.line IS NULL)
"""
#: When they came to their end.
ENDED = """
SELECT held_up.number, step.finished_at
FROM unnest(%s::int[], %s::uuid[], %s::int[], %s::int[], %s::int[])
         AS held_up (number, instance_id, position, branch, round)
JOIN sagas.saga_step AS step USING (instance_id, position, branch, round)
WHERE step.finished_at IS NOT NULL
"""
CLOCK = "SELECT clock_timestamp()"


@dataclass
class Loss:
    """One step that a kill interrupted."""

    instance_id: str
    position: int
    branch: int
    round: int
    token: str
    killed_at: datetime
    noticed_after: float | None = None
    ran_after: float | None = None
    end: str = ""

    @property
    def is_open(self) -> bool:
        return not self.end


class Recoveries:
    """Follows the steps of killed workers until they run again."""

    def __init__(self, environment: FaultEnvironment) -> None:
        self._stage = environment
        self.losses: list[Loss] = []

    def before_killing(self, pid: int) -> list[Loss]:
        """What that worker holds at this moment; give it to `killed` when it is dead."""
        return [Loss(*row) for row in self._stage.ask(HELD, pid) or []]

    def killed(self, held: list[Loss]) -> None:
        self.losses += held

    def follow(self) -> None:
        """Look how they stand."""
        lost = {number: loss for number, loss in enumerate(self.losses) if loss.is_open}
        if not lost:
            return
        columns = [(n, it.instance_id, it.position, it.branch, it.round, it.killed_at) for n, it in lost.items()]
        for number, *found in self._stage.ask(LATER, *(list(column) for column in zip(*columns, strict=True))) or []:
            judge(lost[number], *found)


@dataclass
class HeldUp:
    """One step that was under way when the database went."""

    instance_id: str
    position: int
    branch: int
    round: int
    stopped: str = ""
    back_at: datetime | None = None
    ended_after: float | None = None


class Restarts:
    """Follows the steps that a restart of the database held up, from the moment at which it answers again."""

    def __init__(self, environment: FaultEnvironment) -> None:
        self._stage = environment
        self.held_up: list[HeldUp] = []

    def before(self) -> list[HeldUp]:
        """What is under way at this moment; give it to `after` when the database answers again."""
        return [HeldUp(*row) for row in self._stage.ask_patiently(UNDER_WAY)]

    def after(self, held_up: list[HeldUp], stopped: str) -> None:
        (back_at,) = self._stage.ask_patiently(CLOCK)[0]
        for step in held_up:
            step.back_at, step.stopped = back_at, stopped
        self.held_up += held_up

    def seconds(self) -> dict[str, list[float]]:
        """What each way of stopping PostgreSQL has cost besides the time for which it was away."""
        found: dict[str, list[float]] = {}
        for step in self.held_up:
            if step.ended_after is not None:
                found.setdefault(step.stopped, []).append(step.ended_after)
        return found

    def slowest(self, number: int) -> list[HeldUp]:
        """Those that took longest to end."""
        return sorted(self.held_up, key=lambda step: -(step.ended_after or 0.0))[:number]

    def follow(self) -> None:
        """Look which have ended."""
        open_ones = {number: it for number, it in enumerate(self.held_up) if it.ended_after is None}
        if not open_ones:
            return
        rows = [(number, it.instance_id, it.position, it.branch, it.round) for number, it in open_ones.items()]
        for number, ended_at in self._stage.ask(ENDED, *(list(column) for column in zip(*rows, strict=True))) or []:
            step = open_ones[number]
            assert step.back_at is not None
            step.ended_after = max(0.0, (ended_at - step.back_at).total_seconds())


def judge(
    loss: Loss, status: str, token: str | None, claimed_at: datetime | None, finished_at: Any, noticed_at: Any
) -> None:
    """Ran again, ended otherwise, or still open."""
    if noticed_at is not None and loss.noticed_after is None:
        loss.noticed_after = (noticed_at - loss.killed_at).total_seconds()
    if token != loss.token and claimed_at is not None and claimed_at > loss.killed_at:
        loss.ran_after = (claimed_at - loss.killed_at).total_seconds()
        loss.end = "ran again"
    elif finished_at is not None:
        loss.end = "had ended" if status == "completed" else "given up"
