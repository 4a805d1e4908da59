"""The starter: keeps so many sagas in flight, sends their signals, cancels some; may be killed at any moment.

    python -m tests.faults.campaign.starter <seed> <sagas> <pace> <directory>

How many it keeps in flight the file `in-flight` says, which may change at any time.
Whatever it must not forget is a line of a file: the starts that returned, and those that it rolled back.
"""

import heapq
import math
import os
import random
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sagas import SagaError, TransitionRefused
from tests.faults.campaign import bank
from tests.faults.campaign.application import business, sagas
from tests.faults.campaign.planned_sagas import PlannedSaga, planned_saga
from tests.faults.campaign.remittance import Noted, Sent, remittance
from tests.support.workers import eventually

#: After a death, the signals and cancels of so many are given once more.
REMEMBERED = 400
#: When notes about a run are published, in seconds after its start; as often as it is remembered.
NOTES = (0.0, 0.3, 2.0)
#: At most so many at a time, so that errands are not late.
AT_ONCE = 10


class RolledBack(Exception):
    """The starter changed its mind."""


class Starter:
    """Starts what is planned, in its order."""

    def __init__(self, seed: int, total: int, pace: float, directory: Path) -> None:
        self.seed, self.total, self.pace, self.directory = seed, total, pace, directory
        self.returned = directory / "returned"
        self.errands: list[tuple[float, int, str, UUID]] = []
        self.next = 0
        self.has_registered = False

    def run(self) -> None:
        """Until all are started and their errands done."""
        self.remember()
        eventually(self.is_through, "all to be started", math.inf, every=0.1)

    def is_through(self) -> bool:
        """Start as many as there is room for, and run the errands meanwhile. Return whether nothing is left to do."""
        try:
            if not self.has_registered:
                sagas.register()  # before the first worker comes
                self.has_registered = True
            while self.next < self.total and (room := self.may_be_in_flight() - self.count_in_flight()) > 0:
                for _ in range(min(room, AT_ONCE, self.total - self.next)):
                    self.start(planned_saga(self.seed, self.next, self.pace))
                    self.next += 1
                self.run_errands()
            self.run_errands()
        except (SQLAlchemyError, ConnectionError) as error:
            print(f"trying again: {error!r:.200}", flush=True)
        return self.next >= self.total and not self.errands

    def remember(self) -> None:
        """Go on where the former process was killed."""
        lines = self.returned.read_text().splitlines() if self.returned.exists() else []
        # The last line may be half a line: its start is repeated, and finds what exists.
        complete = [line.split() for line in lines if len(line.split()) == 3 and line.endswith(".")]
        self.next = max((int(key.split("-")[1]) + 1 for key, *_ in complete), default=0)
        for key, saga_id, _ in complete[-REMEMBERED:]:
            self.plan_errands(planned_saga(self.seed, int(key.split("-")[1]), self.pace), UUID(saga_id))

    def may_be_in_flight(self) -> int:
        return int((self.directory / "in-flight").read_text())

    def count_in_flight(self) -> int:
        with bank.transaction() as connection:
            found = connection.scalar(text("SELECT count(*) FROM sagas.saga_instance WHERE due_at IS NOT NULL"))
            return int(found or 0)

    # -- one start

    def start(self, planned: PlannedSaga) -> None:
        if planned.rolled_back_first:
            self.start_and_roll_back(planned)
        if planned.joined:
            with bank.transaction() as connection:
                # The intent may be there from a process that was killed after its commit.
                intent = text("INSERT INTO bank.intent (key) VALUES (:key) ON CONFLICT DO NOTHING")
                connection.execute(intent, {"key": planned.key})
                saga_id = self.insert(planned, connection=connection)
        else:
            saga_id = self.insert(planned)
        append(self.returned, f"{planned.key} {saga_id} .")
        self.plan_errands(planned, saga_id)

    def start_and_roll_back(self, planned: PlannedSaga) -> None:
        """A start in a transaction that does not commit never happened."""
        key = f"{planned.key}-rolled-back"
        append(self.directory / "rolled-back", f"{key} .")
        try:
            with bank.transaction() as connection:
                connection.execute(text("INSERT INTO bank.intent (key) VALUES (:key)"), {"key": key})
                self.insert(planned, key=key, connection=connection)
                raise RolledBack
        except RolledBack:
            pass

    def insert(self, planned: PlannedSaga, *, key: str | None = None, connection: Connection | None = None) -> UUID:
        options: dict[str, Any] = {"key": key or planned.key}
        if connection is not None:
            options["connection"] = connection
        if planned.kind == remittance.name:
            return self.insert_run(planned, options)
        options["deadline"] = planned.deadline
        return sagas.start(business.ALL[planned.kind], planned.data, **options).id

    def insert_run(self, planned: PlannedSaga, options: dict[str, Any]) -> UUID:
        """A run of which the first note is there before it, and the second one begins with it."""
        if "connection" not in options:
            self.note(planned, options["key"], 0)
        run = remittance.start_on(sagas.engine, Sent(**planned.data), **options)
        if "connection" in options:
            self.note(planned, options["key"], 1, options["connection"])
        return run.id

    def note(self, planned: PlannedSaga, run: str, number: int, connection: Connection | None = None) -> None:
        """Publish a note about a run, by the run's key."""
        key, event = f"note {number}", Noted(**planned.data)
        if connection is None:
            remittance.publish_on(sagas.engine, event, run=run, key=key)
        else:
            intent = text("INSERT INTO bank.noted (run, key) VALUES (:run, :key) ON CONFLICT DO NOTHING")
            connection.execute(intent, {"run": run, "key": key})
            remittance.publish_on(sagas.engine, event, run=run, key=key, connection=connection)

    # -- what follows a start

    def plan_errands(self, planned: PlannedSaga, saga_id: UUID) -> None:
        now = time.monotonic()
        number = int(planned.key.split("-")[1])
        if planned.kind == "approval" and planned.signal_after is not None:
            heapq.heappush(self.errands, (now + planned.signal_after, number, "signal", saga_id))
        if planned.kind == remittance.name:
            for index, after in enumerate(NOTES, 2):
                heapq.heappush(self.errands, (now + after, number, f"note {index}", saga_id))
        if planned.cancel_after is not None:
            heapq.heappush(self.errands, (now + planned.cancel_after, number, "cancel", saga_id))

    def run_errands(self) -> None:
        while self.errands and self.errands[0][0] <= time.monotonic():
            _, number, what, saga_id = self.errands[0]
            try:
                self.run_errand(what, number, saga_id, joined=number % 3 == 0)
            except TransitionRefused:
                pass  # it has ended, or turned back
            except (DBAPIError, ConnectionError):
                raise
            except SagaError as error:
                print(f"{what} of {saga_id}: {error!r}", flush=True)
            heapq.heappop(self.errands)

    def run_errand(self, what: str, number: int, saga_id: UUID, *, joined: bool) -> None:
        if what.startswith("note"):
            self.publish(planned_saga(self.seed, number, self.pace), int(what.split()[1]), joined=joined)
            return
        run = sagas.get(saga_id)
        if not joined:
            self.say(what, run)
            return
        with bank.transaction() as connection:
            self.say(what, run, connection=connection)

    def publish(self, planned: PlannedSaga, index: int, *, joined: bool) -> None:
        if joined:
            with bank.transaction() as connection:
                self.note(planned, planned.key, index, connection)
        else:
            self.note(planned, planned.key, index)
        append(self.directory / "published", f"{planned.key} {index} {joined} .")

    @staticmethod
    def say(what: str, run: Any, **options: Any) -> None:
        if what == "signal":
            run.signal("approved", {"by": "the starter"}, key="the only one", **options)
        else:
            run.cancel("changed its mind", **options)


def append(file: Path, line: str) -> None:
    """One write, so that a kill leaves a whole line or none that counts."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    random.seed()
    Starter(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])).run()
