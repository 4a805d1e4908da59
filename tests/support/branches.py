"""Facts about an instance for tests of parallel positions: which steps began when, and what is left behind."""

from sagas import SagaHandle, StepStatus
from tests.conftest import Shop
from tests.support import journal


def steps_begun(run: SagaHandle) -> list[str]:
    """Return the names of the steps that were ever claimed, in the order of their first claims."""
    steps = [(step.started_at, step.name) for step in run.steps if step.started_at is not None]
    return [name for _, name in sorted(steps)]


def undo_effects(names: list[str]) -> list[str]:
    """Return the effects of undoing these, last begun first."""
    return [f"undo {name}" for name in reversed(names)]


def statuses(run: SagaHandle) -> dict[str, StepStatus]:
    return {step.name: step.status for step in run.steps}


def done_and_undone(effects: list[str]) -> tuple[list[str], list[str]]:
    """Return the effects that were done and those that were undone, each in order."""
    return (
        [what for what in effects if not what.startswith("undo ")],
        [what for what in effects if what.startswith("undo ")],
    )


def pending(shop: Shop, run: SagaHandle) -> int:
    """Return how many executions its row still waits for."""
    stored = "SELECT pending FROM sagas.saga_instance WHERE id = %s"
    return int(journal.query(shop.database_url, stored, str(run.id))[0][0])


def claims(shop: Shop, run: SagaHandle) -> int:
    """Return how many executions were ever begun, actions and undos."""
    counted = "SELECT sum(attempts) FROM sagas.saga_step WHERE instance_id = %s"
    return int(journal.query(shop.database_url, counted, str(run.id))[0][0])
