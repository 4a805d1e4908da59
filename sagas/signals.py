"""Signals that announce what happened, after the commit that made it true.

Connect as to any Celery signal: ``saga_finished.connect(receiver)``. A receiver runs in the process that recorded the
change (usually a worker), gets the keyword arguments named here, and cannot break anything: Celery logs any exception
that it raises.
"""

from celery.utils.dispatch import Signal

#: ``saga_id``, ``saga`` (its name), ``key``: the row of a new instance is committed, or will be with the caller's.
saga_started = Signal(name="saga_started", providing_args={"saga_id", "saga", "key"})

#: ``saga_id``, ``saga``, ``status``: the instance turned back (``compensating``), ended (``completed``,
#: ``compensated``, ``failed``), or goes on after an operator's retry. Forward progress, step by step, is not announced.
saga_status_changed = Signal(name="saga_status_changed", providing_args={"saga_id", "saga", "status"})

#: ``saga_id``, ``saga``, ``event`` (a `sagas.HistoryEvent`), ``step``, ``detail``: an entry was added to the history.
saga_event = Signal(name="saga_event", providing_args={"saga_id", "saga", "event", "step", "detail"})
