"""What a declared task shows before any app exists, and what only its app can tell."""

from functools import partial
from typing import Any

import pytest
from celery import Celery, Task, shared_task

from sagas.engine import TaskFace, face_of


def act(task: Any, order_id: str) -> None: ...


def with_self(self: str, order_id: str) -> None: ...


def names(face: TaskFace) -> list[str]:
    return [parameter.name for parameter in face.parameters]


@pytest.fixture
def app() -> Celery:
    return Celery("declared", set_as_current=False)


def test_a_bound_tasks_first_parameter_is_the_task_whatever_it_is_called(app: Celery) -> None:
    shared = face_of(shared_task(bind=True, name="declared.bound")(act))
    promised = face_of(app.task(bind=True, shared=False)(act))
    assert names(shared) == names(promised) == ["order_id"]
    assert shared.required == promised.required == {"order_id"}


def test_a_first_parameter_called_self_is_one_to_fill_where_the_task_is_not_bound() -> None:
    assert names(face_of(shared_task(name="declared.unbound")(with_self))) == ["self", "order_id"]


def test_one_function_may_be_shared_under_two_names_once_bound_and_once_not() -> None:
    plain, bound = shared_task(name="declared.one")(act), shared_task(name="declared.two", bind=True)(act)
    assert (names(face_of(plain)), names(face_of(bound))) == (["task", "order_id"], ["order_id"])
    assert (face_of(plain).name, face_of(bound).name) == ("declared.one", "declared.two")


def test_a_shared_tasks_options_are_seen_without_making_an_app() -> None:
    task = shared_task(name="declared.options", acks_late=False, autoretry_for=(OSError,))(act)
    assert face_of(task).options == {"name": "declared.options", "acks_late": False, "autoretry_for": (OSError,)}


def test_a_made_task_shows_its_bound_method(app: Celery) -> None:
    made = app.task(bind=True, shared=False)(act)
    app.finalize()
    assert names(face_of(made)) == names(face_of(app.tasks[made.name])) == ["order_id"]


def test_a_class_based_task_shows_its_run_without_the_task(app: Celery) -> None:
    class Act(app.Task):  # type: ignore[misc,name-defined]
        name = "declared.class"

        def run(this, order_id: str, *, currency: str = "EUR") -> None: ...

    face = face_of(app.register_task(Act()))
    assert (names(face), face.required) == (["order_id", "currency"], {"order_id"})


@pytest.mark.parametrize("given", [act, "declared.act", partial(act, None), Task, None])
def test_what_is_no_task_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="is not a Celery task"):
        face_of(given)
