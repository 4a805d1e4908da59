"""Checks of `check` on queues: undeclared ones, ones that a rate limit stops, and beat entries for the wrong queue."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from celery.exceptions import QueueNotFound
from celery.utils.functional import maybe_list

from sagas.choreography import Choreography
from sagas.definition import Saga
from sagas.engine import CONTROL_TASKS, choreographies, declared
from sagas.errors import SagaError
from sagas.extension import Sagas
from sagas.model import PlanStep

#: RabbitMQ's default, in seconds.
CONSUMER_TIMEOUT = 1800.0
#: Allowance for a step whose message waits for its turn in a worker, in seconds.
SPARE = 600.0


def queue_findings(sagas: Sagas) -> list[str]:
    """Return one line per finding: what, why, and the cure."""
    return [*undeclared(sagas), *unpermitted(sagas), *misguided_entries(sagas), *stopped_by_a_limit(sagas)]


def broker_notes(sagas: Sagas) -> Iterator[str]:
    """Yield a note on a step that outlasts the time that RabbitMQ gives a message: by default 30 minutes."""
    if not speaks_amqp(sagas.app.conf):
        return
    longest: tuple[float, str] = (0.0, "")
    for definition in definitions():
        for step, round_ in executions(sagas, definition):
            kind, part = words_of(definition)
            what = f"{kind} {definition.name!r}: {part if round_ == 0 else f'the compensation of {part}'} {step.name!r}"
            # One message runs on for so long before it begins its last step.
            inline = definition.inline if isinstance(definition, Saga) else None
            before = inline.seconds if inline is not None and round_ == 0 else 0.0
            longest = max(longest, (before + sagas.engine.messages.limits_of(step, round_).for_process, what))
    seconds, what = longest
    if seconds >= CONSUMER_TIMEOUT:
        yield (
            f"RabbitMQ closes the channel of a worker that keeps a message longer than its consumer_timeout, "
            f"{CONSUMER_TIMEOUT / 60:g} minutes by default, and {what} may take {seconds:g} s. Set consumer_timeout = "
            f"{round(seconds + SPARE) * 1000} (milliseconds) in rabbitmq.conf, or give the steps shorter timeouts"
        )


def speaks_amqp(conf: Any) -> bool:
    urls = [*(maybe_list(conf.broker_url) or ()), *(maybe_list(conf.broker_read_url) or ())]
    return any(one.strip().startswith(("amqp", "pyamqp")) for url in urls for one in str(url).split(";"))


def undeclared(sagas: Sagas) -> Iterator[str]:
    """Yield the queues that ``task_queues`` must declare, since Celery does not create any itself."""
    conf = sagas.app.conf
    if conf.task_create_missing_queues:
        return
    known = declared_queues(conf.task_queues)
    if sagas.control_queue not in known:
        yield (
            f"task_create_missing_queues=False, and task_queues lacks the control queue {sagas.control_queue!r}, "
            f"which workers and beat declare by themselves, without arguments. Add Queue({sagas.control_queue!r}) there"
        )
    missing: dict[tuple[str, str], str] = {}
    for definition in definitions():
        kind, part = words_of(definition)
        for step, round_ in executions(sagas, definition):
            who = f"{kind} {definition.name!r}, {part} {step.name!r}"
            try:
                queue = sagas.engine.messages.queue_of(step, round_)
            except QueueNotFound as error:
                problem = str(error.args[0])  # as a KeyError it would be quoted again
                missing.setdefault((definition.name, problem), f"{who}: {problem}")
                continue
            if queue is not None and queue not in known and queue != sagas.control_queue:
                missing.setdefault((definition.name, queue), f"{who} goes to the queue {queue!r}")
    for what in missing.values():
        yield f"task_create_missing_queues=False: {what}, so it cannot be sent. Add the queue to task_queues"


def unpermitted(sagas: Sagas) -> Iterator[str]:
    """Yield a finding if a transport such as SQS uses only predefined queues, and the control queue is not one."""
    predefined = (sagas.app.conf.broker_transport_options or {}).get("predefined_queues")
    if predefined and sagas.control_queue not in predefined:
        yield (
            f"broker_transport_options['predefined_queues'] lacks the control queue {sagas.control_queue!r}: error "
            "callbacks and sweeps cannot be sent. Make the queue, and add it"
        )


def misguided_entries(sagas: Sagas) -> Iterator[str]:
    """Yield beat entries whose queue no worker of this app consumes, or none will after the next release."""
    for name, entry in (sagas.app.conf.beat_schedule or {}).items():
        task = entry.get("task") if isinstance(entry, Mapping) else None
        if task not in CONTROL_TASKS:
            continue
        queue = (entry.get("options") or {}).get("queue")
        queue = getattr(queue, "name", queue)
        if queue is not None and queue != sagas.control_queue:
            yield (
                f"beat_schedule[{name!r}] sends {task} to the queue {queue!r}, and the control queue of this app is "
                f"{sagas.control_queue!r}: say {{'queue': {sagas.control_queue!r}}} in its options"
            )


def stopped_by_a_limit(sagas: Sagas) -> Iterator[str]:
    """Yield the queues in which a rate limit stops more than its own task."""
    messages, tasks = sagas.engine.messages, defaultdict[str, set[str]](set)
    for definition in definitions():
        for step, round_ in executions(sagas, definition):
            with suppress(QueueNotFound):  # reported above
                queue = messages.queue_of(step, round_) or sagas.app.conf.task_default_queue
                tasks[queue].add(str(step.task_for(round_)))
    for queue, names in sorted(tasks.items()):
        limited = {name for name in names if messages.is_rate_limited(name)}
        others = sorted(names - limited)
        for name in sorted(limited) if others else ():
            yield (
                f"the queue {queue!r}: {name} has a rate limit, and {others[0]} has none. A worker receives what it "
                "may not run yet, until its prefetch is full, and then runs nothing else of the queue. Give the "
                f"limited task a queue, and a worker that consumes no other: Step({name.rpartition('.')[2]}, queue='…')"
            )


def definitions() -> list[Saga | Choreography]:
    """Return every saga and every choreography that this process has defined."""
    return [one for one in (*declared(), *choreographies()) if isinstance(one, Saga | Choreography)]


def words_of(definition: Saga | Choreography) -> tuple[str, str]:
    """Return what it is called, and what its parts are called."""
    return ("saga", "step") if isinstance(definition, Saga) else ("choreography", "handler")


def executions(sagas: Sagas, definition: Saga | Choreography) -> Iterator[tuple[PlanStep, int]]:
    """Yield the actions and compensations of a definition of this app that are tasks."""
    try:
        if isinstance(definition, Saga):
            steps = definition.plan(sagas.engine).steps
        else:
            steps = tuple(handler.step for handler in definition.plan(sagas.engine).handlers)
    except SagaError:  # reported elsewhere
        return
    for step in steps:
        for round_ in (0, 1):
            if step.task_for(round_) is not None:
                yield step, round_


def declared_queues(given: Any) -> set[str]:
    """Return the names in ``task_queues``, in each form that Celery accepts."""
    return set(given) if isinstance(given, Mapping) else {queue.name for queue in given or ()}
