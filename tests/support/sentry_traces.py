"""An application with Sentry's integration for Celery, whose steps report their trace.

    python -m tests.support.sentry_traces

starts two sagas, each within its own request, and prints the ids of both with the requests' traces.
"""

import json
import os
from typing import Any

import sentry_sdk
from celery import Celery, shared_task
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.transport import Transport

from sagas import PermanentError, Saga, Sagas, Step, current_step
from tests.support import journal


class Nowhere(Transport):
    def capture_envelope(self, envelope: Any) -> None:
        pass


sentry_sdk.init(
    dsn="http://key@127.0.0.1:1/1",
    transport=Nowhere,
    traces_sample_rate=1.0,
    default_integrations=False,
    integrations=[CeleryIntegration()],
)
app = Celery("tests.support.sentry_traces", broker=os.environ["SAGAS_BROKER_URL"])
sagas = Sagas(app, database=os.environ["SAGAS_DATABASE_URL"], heartbeat=0.5, sweep_every=0.5)


def trace() -> str:
    return (sentry_sdk.get_current_scope().get_traceparent() or "none").partition("-")[0]


@shared_task
def act() -> None:
    journal.write(f"{current_step.name} of {trace()}")
    if current_step.name == "c":
        raise PermanentError("no")


@shared_task
def undo() -> None:
    journal.write(f"undo {current_step.name} of {trace()}")


order = Saga("observed", steps=[Step(act, name=name, compensation=undo) for name in "abc"])


def main() -> None:
    started = {}
    for name in ("first", "second"):
        with sentry_sdk.isolation_scope(), sentry_sdk.start_transaction(name=name, op="http") as request:
            started[str(order.start({}).id)] = request.trace_id
            assert trace() == request.trace_id
    print(json.dumps(started))


if __name__ == "__main__":
    main()
