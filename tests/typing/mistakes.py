"""What mypy must refuse: each line so marked, and no other."""

from datetime import date

from celery import shared_task

from sagas import Pivot, Retry, Saga, SagaHandle, Sagas, Step


@shared_task
def act() -> None: ...


Retry(max_retries=3)  # refused
Retry(on=("ConnectionError",))  # refused
Retry(max_attempts="3")  # refused
Step(act, compensation=None, retry=3)  # refused
Step(act, compensation=None, timeout="30")  # refused
Saga("order", steps=["act"])  # refused
Saga("order", version="1", steps=[])  # refused
saga = Saga("order", steps=[Pivot(act)])
saga.start("data")  # refused
saga.start({}, key=7)  # refused
saga.start({}, deadline=date(2040, 1, 1))  # refused


def act_on(run: SagaHandle, sagas: Sagas) -> None:
    run.cancel()  # refused
    run.wait("30")  # refused
    run.status = "completed"  # refused
    sagas.find("order", "key")  # refused
