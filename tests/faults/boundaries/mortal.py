"""What the workers of these tests run: the test application, whose processes can be told where to die."""

from tests.faults.boundaries import dying_here
from tests.support import choreographed, publishing, started_on_events, strict
from tests.support.application import app, sagas

__all__ = ["app", "choreographed", "publishing", "sagas", "started_on_events", "strict"]

dying_here.install()
#: On a busy machine a child that is born late would be killed for it, and the next one too.
app.conf.worker_proc_alive_timeout = 60.0
