"""Blocking work beside async sessions, which SQLAlchemy runs in greenlets."""

import sys
import threading
from typing import Any

import greenlet  # noqa: F401 - as in a process that has async sessions, or a pool of greenlets
import pytest
from sqlalchemy.util import concurrency

from sagas.store.off_the_loop import blocking

ROUNDS, THREADS = 100, 10


def as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLAlchemy 2.1 prepares itself when it is first asked whether it is in a greenlet; 2.0 when it is imported."""
    made: Any = getattr(concurrency, "_concurrency_shim_cls", None)
    if made is not None:
        for name in ("greenlet", "getcurrent"):
            monkeypatch.delattr(concurrency, name, raising=False)
        monkeypatch.setattr(concurrency, "_concurrency_shim", made())


def test_threads_that_ask_at_once_for_the_first_time_all_get_their_work_done(monkeypatch: pytest.MonkeyPatch) -> None:
    interval, done, together = sys.getswitchinterval(), list[int](), threading.Barrier(THREADS)

    def asks() -> None:
        together.wait()
        blocking(lambda: done.append(1))

    sys.setswitchinterval(1e-6)
    try:
        for _ in range(ROUNDS):
            as_in_a_new_process(monkeypatch)
            threads = [threading.Thread(target=asks) for _ in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert len(done) == ROUNDS * THREADS
