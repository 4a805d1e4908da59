"""The command line in the test's own process, which is quicker than a process for each command."""

from collections.abc import Callable

from click.testing import Result

#: Runs ``celery … sagas`` with these arguments.
Here = Callable[..., Result]
