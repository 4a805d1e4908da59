"""The first minutes with the library: what it costs to import, which release it is, a database that is not there."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from celery import Celery

import sagas
from sagas import DatabaseUnreachable, Saga, Sagas, Step

#: What costs much and few processes need.
DEAR = ("sqlalchemy.orm", "sqlalchemy.dialects", "sagas.graph", "sagas.cli", "sagas.testing", "sagas.contrib")
app = Celery("first", set_as_current=False, broker="memory://")
bound = Sagas(app, database="postgresql://nobody:secret@/nowhere?host=/nonexistent")


@app.task
def act() -> None: ...


order = Saga("order", steps=[Step(act, compensation=None)])


def test_the_release_is_that_of_the_package() -> None:
    assert sagas.__version__ == version("celery-sagas")


def test_importing_it_brings_nothing_that_is_dear_and_seldom_needed() -> None:
    code = "import celery, sqlalchemy, sys; before = {*sys.modules}; import sagas; print(*({*sys.modules} - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert "sagas.engine" in loaded
    assert [name for name in loaded if name.startswith(DEAR)] == []


def test_a_start_without_a_database_says_so_and_what_to_do() -> None:
    with pytest.raises(DatabaseUnreachable, match=r"cannot be reached .*see that it runs") as refused:
        order.start_on(bound.engine, {}, key="1")

    assert isinstance(refused.value, ConnectionError)
    assert "secret" not in str(refused.value)


def test_so_do_looks() -> None:
    with pytest.raises(DatabaseUnreachable):
        bound.find(saga="order", key="1")


def test_an_option_that_the_driver_does_not_know_is_a_matter_of_the_url() -> None:
    odd = Celery("odd", set_as_current=False, broker="memory://")
    theirs = Sagas(odd, database="postgresql://nobody@/nowhere?host=/nonexistent&colour=red")

    with pytest.raises(sagas.ConfigurationError, match=r"the database URL has an option .*colour"):
        theirs.find(saga="order", key="1")
