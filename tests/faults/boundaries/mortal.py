"""What the workers of these tests run: the test application, whose processes can be told where to die."""

from tests.faults.boundaries import dying_here
from tests.support.application import app, sagas

__all__ = ["app", "sagas"]

dying_here.install()
