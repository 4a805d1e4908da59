"""Checks of `check` on the tasks of sagas whose messages cannot be written, or that workers refuse."""

from collections.abc import Iterator

from kombu.serialization import registry

from sagas.cli.queues import definitions, executions
from sagas.engine import CONTROL_TASKS
from sagas.extension import Sagas


def serializer_findings(sagas: Sagas) -> Iterator[str]:
    """Yield the tasks whose serializer is not installed, or not accepted."""
    app = sagas.app
    named = {step.task_for(round_) for one in definitions() for step, round_ in executions(sagas, one)}
    accepted = ", ".join(map(str, app.conf.accept_content))
    # Names or content types. With one that is not installed no worker starts.
    content_types = {registry.name_to_type.get(one, one) for one in app.conf.accept_content}
    for name in sorted({*CONTROL_TASKS, *filter(None, named)}):
        serializer = getattr(app.tasks.get(name), "serializer", None) or app.conf.task_serializer
        if serializer not in registry.name_to_type:
            yield f"{name}: its serializer {serializer!r} is not installed: no message of it can be sent. Install it"
        elif registry.name_to_type[serializer] not in content_types:
            yield (
                f"{name}: its serializer {serializer!r} is not in accept_content ({accepted}): workers refuse its "
                "messages, and its steps wait. Say serializer='json', whatever the task's own arguments are: a saga's "
                "message has none"
            )
