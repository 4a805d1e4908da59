"""Start sagas of two tenants, and act as their worker and their sweep."""

import json
import os
from typing import Any

import django

from tests.support import journal


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.tenancy.settings"
    django.setup()

    from django.core.management import call_command
    from django.db import connection, transaction
    from django_tenants.utils import schema_context

    from sagas import SagaHandle
    from sagas.contrib.django import sagas
    from tests.support.inline import run_messages
    from tests.support.queues import forget_everything
    from tests.support.tenancy import tasks
    from tests.support.tenancy.models import Client

    def ended(run: SagaHandle) -> list[Any]:
        assert connection.schema_name == "public"
        while run_messages(sagas.app) or run_messages(sagas.app, "sagas"):
            pass
        told, tasks.seen = tasks.seen, []
        return [run.status.value, *told]

    call_command("migrate_schemas", shared=True, run_syncdb=True, verbosity=0)
    for name in ("acme", "other"):
        Client.objects.create(schema_name=name, name=name)

    # Committed after its request's schema has been left.
    with transaction.atomic(), schema_context("acme"):
        committed_late = tasks.order.start({"refuses": "c"})
    acme = ended(committed_late)

    with schema_context("other"):
        sent_again = tasks.order.start({})
    forget_everything(sagas)
    sagas.engine.store.sweeping.hasten(sent_again.id)
    due = "UPDATE sagas.saga_instance SET due_at = clock_timestamp() WHERE id = %s"
    journal.query(os.environ["SAGAS_DATABASE_URL"], due, str(sent_again.id))
    sagas.sweep()
    print("\n" + json.dumps({"acme": acme, "other": ended(sent_again)}))


main()
