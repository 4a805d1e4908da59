"""The application that the workers of these tests run: its processes can be told where to die."""

from tests.faults.boundaries import crash_hooks
from tests.support import choreographed, publishing, started_on_events, strict
from tests.support.application import app, sagas

__all__ = ["app", "choreographed", "publishing", "sagas", "started_on_events", "strict"]

crash_hooks.install()
#: On a busy machine a child that is born late would be killed for it, and the next one too.
app.conf.worker_proc_alive_timeout = 60.0
