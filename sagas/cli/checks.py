"""What `check` looks at: settings under which sagas lose speed or surprise, and definitions that cannot start."""

from sagas.definition import Saga
from sagas.engine import declared
from sagas.errors import SagaError
from sagas.extension import Sagas


def findings(sagas: Sagas) -> list[str]:
    """One line a finding: what, why, and the cure."""
    conf = sagas.app.conf
    found = []
    if conf.task_always_eager:
        found.append("task_always_eager: sagas need a real worker; eager tasks run inside start(). Unset it")
    if conf.task_reject_on_worker_lost:
        found.append(
            "task_reject_on_worker_lost: a step that kills its process is redelivered for ever. Unset it; the sweep "
            "runs it again, at most max_losses times"
        )
    if (conf.worker_prefetch_multiplier or 0) > 4:
        found.append(
            f"worker_prefetch_multiplier={conf.worker_prefetch_multiplier}: steps wait behind long ones in a worker's "
            "memory. Set 1"
        )
    if {"pickle", "application/x-python-serialize"} & set(conf.accept_content or ()):
        found.append("accept_content has pickle: whoever reaches the broker runs code in your workers. Set ['json']")
    if conf.task_publish_retry_policy and (conf.task_publish_retry_policy.get("max_retries") or 0) < 5:
        found.append(
            "task_publish_retry_policy gives up within a second: completed steps then look failed to Celery. Raise "
            "max_retries"
        )
    if sagas.engine.secrecy.encrypts_nothing:
        found.append("codec without secrets: nothing new is encrypted. Name the fields with secrets=('card_number', …)")
    for saga in declared():
        if isinstance(saga, Saga):
            try:
                saga.plan(sagas.engine)
            except SagaError as error:
                found.append(f"saga {saga.name!r}: {error}")
    return found
