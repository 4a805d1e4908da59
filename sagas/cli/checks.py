"""The checks of `check`: settings that make sagas slow or surprising, and definitions that cannot start."""

from contextlib import suppress

from sagas.choreography import Choreography
from sagas.choreography.findings import graph_findings, graph_notes
from sagas.cli.doubt import doubt_notes
from sagas.cli.queues import broker_notes, queue_findings
from sagas.cli.serializers import serializer_findings
from sagas.definition import Saga
from sagas.engine import choreographies, declared, token_warning
from sagas.errors import SagaError
from sagas.extension import Sagas
from sagas.model import Plan


def findings(sagas: Sagas) -> list[str]:
    """Return one line per finding: what, why, and the cure."""
    conf = sagas.app.conf
    found = []
    if conf.task_always_eager:
        found.append(
            "task_always_eager: start() refuses, since sagas run in workers. Unset it; in tests start them inside "
            "sagas.testing.inline"
        )
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
        found.append("accept_content has pickle: any client of the broker can run code in your workers. Set ['json']")
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
    found += unnamed_starts(sagas)
    names = {saga.name for saga in declared() if isinstance(saga, Saga) and belongs(saga, sagas)}
    for choreography in choreographies():
        if isinstance(choreography, Choreography):
            if choreography.name in names:
                found.append(f"{choreography.who}: a saga has this name, too: give one of them another name")
            try:
                found += graph_findings(choreography, sagas.engine)
            except SagaError as error:
                found.append(with_its_name(choreography, error))
    found += queue_findings(sagas)
    found += serializer_findings(sagas)
    found += [token_warning(name) for name in sorted(left_out(sagas))]
    return found


def unnamed_starts(sagas: Sagas) -> list[str]:
    """Return the sagas that start on an event which no choreography of the app names."""
    named = {
        type_
        for it in choreographies()
        if isinstance(it, Choreography) and belongs(it, sagas)
        for type_ in it.plan(sagas.engine).by_type
    }
    return [
        f"saga {saga.name!r} starts on {saga.starts_on.type}, which no choreography names: it never starts. Name the "
        "event in one, or import the module that does"
        for saga in declared()
        if isinstance(saga, Saga) and saga.starts_on and saga.starts_on.type not in named and belongs(saga, sagas)
    ]


def notes(sagas: Sagas) -> list[str]:
    """Return one line per note that is not a problem, but good to know before a deploy of this release."""
    lines = []
    for saga in declared():
        if isinstance(saga, Saga):
            with suppress(SagaError):  # a finding
                lines += shorter_limits(sagas, saga.plan(sagas.engine))
                lines += doubt_notes(saga)
    for choreography in choreographies():
        if isinstance(choreography, Choreography):
            with suppress(SagaError):
                lines += graph_notes(choreography, sagas.engine)
    return [*lines, *broker_notes(sagas)]


def belongs(definition: Saga | Choreography, sagas: Sagas) -> bool:
    """Return whether a definition belongs to this app: a process may have several apps with their own."""
    try:
        definition.plan(sagas.engine)
    except SagaError:
        return False
    return True


def with_its_name(choreography: Choreography, error: SagaError) -> str:
    """Return an error that begins with the choreography's name, once."""
    message = str(error)
    return message if message.startswith(choreography.who) else f"{choreography.who}: {message}"


def shorter_limits(sagas: Sagas, plan: Plan) -> list[str]:
    """Return notes on executions that their own limits end sooner than earlier releases did, which allowed an hour."""
    found = []
    for step in plan.steps:
        for round_, what in ((0, "step"), (1, "the compensation of step")):
            if step.task_for(round_) is None or step.declared_limits(round_) is not None:
                continue
            limits = sagas.engine.messages.limits_of(step, round_)
            if limits.for_body < step.timeout_for(round_):
                option = "compensation_timeout" if round_ else "timeout"
                found.append(
                    f"saga {plan.saga!r}: {what} {step.name!r} is asked to stop after {limits.for_body:g} s and ended "
                    f"after {limits.for_process:g} s, by its task's or its app's limits; earlier releases gave it an "
                    f"hour. Pass {option}=… if it needs longer"
                )
    return found


def left_out(sagas: Sagas) -> set[str]:
    """Return the headers that a start from here would not keep: its message is made, but not sent."""
    names: set[str] = set()
    for saga in declared():
        if isinstance(saga, Saga):
            try:
                names |= set(sagas.engine.left_out(saga.plan(sagas.engine)))
            except Exception:  # reported above; or an application that publishes nothing without a tenant, for example
                continue
    return names
