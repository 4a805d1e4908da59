"""The engines of this process, and which of them a saga runs on."""

import threading
from typing import Any
from weakref import WeakSet

from celery import _state as celery_state

from sagas.engine.core import Engine
from sagas.engine.task_face import face_of
from sagas.errors import NotBound

_lock = threading.Lock()
_engines: WeakSet[Engine] = WeakSet()


def add_engine(engine: Engine) -> None:
    with _lock:
        _engines.add(engine)


def engine_for(tasks: list[Any], what: str) -> Engine:
    """Return the engine that runs a saga: of the only ``Sagas``, of the app of its tasks, or of the current app.

    Raises:
        NotBound: there is none, or several could be meant.
    """
    with _lock:
        engines = list(_engines)
    if not engines:
        raise NotBound(f"{what}: no Sagas(app, database=…) exists in this process; import the module that makes it")
    if len(engines) == 1:
        return engines[0]
    owned = {id(engine): engine for engine in engines for task in tasks if face_of(task).app is engine.app}
    if len(owned) == 1:
        return next(iter(owned.values()))
    here = [engine for engine in engines if engine.is_current()]
    if len(here) == 1:
        return here[0]
    current = celery_state._tls.current_app
    here = [engine for engine in engines if engine.app is current]
    if len(here) == 1:
        return here[0]
    raise NotBound(f"{what}: several Sagas exist in this process; say which with sagas.start(saga, data)")
