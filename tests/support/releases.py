"""The differences between two releases of an application; both have what `scripted` has.

``TEST_RELEASE`` says whose code a process has: ``1``, ``2`` or, as the tests' own process, that of both. Workers load
it beside the application (see `deploys`).
"""

import os
from collections.abc import Mapping
from typing import Any

from celery import shared_task

from sagas import condition
from tests.support.scripted import play

RELEASES = os.environ.get("TEST_RELEASE", "1 2").split()

if "1" in RELEASES:

    @shared_task
    def send_fax(script: Mapping[str, Any]) -> Any:
        return play(script, "fax")

    @shared_task
    def recall_fax(script: Mapping[str, Any]) -> Any:
        return play(script, "undo fax")


if "2" in RELEASES:

    @condition
    def is_abroad(data: Mapping[str, Any]) -> bool:
        return bool(data["script"].get("abroad"))

    @shared_task
    def send_mail(script: Mapping[str, Any]) -> Any:
        return play(script, "mail")
