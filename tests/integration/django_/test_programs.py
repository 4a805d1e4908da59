"""Celery's programs in the Django project: each finds the sagas bound, and a real worker completes them."""

import re
from pathlib import Path

from tests.integration.django_.conftest import Project, succeeded
from tests.support import journal
from tests.support.programs import Program, briefly
from tests.support.workers import Worker, eventually

START = """
import time
from django.db import transaction
from tests.django_project.shop.models import Order
from tests.django_project.shop.tasks import order
from sagas.contrib.django import sagas

began = time.monotonic()
with transaction.atomic():
    Order.objects.create(pk={key!r}, sku="pen")
    run = order.start({{"order_id": {key!r}}}, key={key!r})
print(run.id, run.status.value, time.monotonic() - began < 5)
"""


def start(project: Project, key: str, **environment: str) -> str:
    """As a view or a script does, in a process of its own."""
    said = succeeded(project.manage("shell", "-v0", "-c", START.format(key=key), **environment))
    matched = re.fullmatch(r"([0-9a-f-]{36}) pending True\n", said)
    assert matched, said
    return matched[1]


def status(project: Project, saga_id: str) -> str:
    ((found,),) = journal.query(project.database_url, "SELECT status FROM sagas.saga_instance WHERE id = %s", saga_id)
    return str(found)


def test_a_real_worker_completes_what_was_started_also_while_the_broker_was_away(
    migrated: Project, tmp_path: Path
) -> None:
    # Given: one saga whose message waits in the broker, and one that no broker has heard of
    sent = start(migrated, "sent")
    unsent = start(migrated, "unsent", SAGAS_BROKER_URL="redis://127.0.0.1:1/0")
    servers = migrated.environment | {"SAGAS_DATABASE_URL": migrated.database_url}
    worker = Worker(servers, tmp_path / "worker.log", application="tests.django_project", arguments=("-c", "1"))

    with briefly(worker):
        for saga_id in (sent, unsent):
            eventually(lambda saga_id=saga_id: status(migrated, saga_id) == "completed", f"saga {saga_id} to complete")

        # Then: their steps used the ORM
        states = journal.query(migrated.database_url, "SELECT id, state FROM shop_order ORDER BY id")
        assert states == [("sent", "shipped"), ("unsent", "shipped")]


def test_celerys_own_command_finds_the_sagas_bound(migrated: Project) -> None:
    assert succeeded(migrated.celery("sagas", "check")) == "no problems found\n"


def test_beat_and_flower_find_them_too(migrated: Project, tmp_path: Path) -> None:
    servers = migrated.environment | {"SAGAS_DATABASE_URL": migrated.database_url, "FLOWER_UNAUTHENTICATED_API": "1"}
    beat = Program(
        servers,
        tmp_path / "beat.log",
        arguments=("beat", "-l", "INFO", "-s", str(tmp_path / "schedule")),
        ready="Sending due task sagas.sweep",
        application="tests.django_project",
    )
    flower = Program(
        servers,
        tmp_path / "flower.log",
        arguments=("flower", "--address=127.0.0.1", f"--unix_socket={tmp_path / 'flower.sock'}"),
        ready="tests.django_project.shop.tasks.reserve",  # it lists the tasks that it has found
        application="tests.django_project",
    )

    with briefly(beat, flower):
        assert "'sagas.sweep'" in flower.text()
