"""Signals that announce what happened, after the commit that made it true.

Connect as to any Celery signal: ``saga_event.connect(receiver)``. A receiver runs in the process that recorded the
change (usually a worker), gets the keyword arguments named here, and cannot break anything: Celery logs any exception
that it raises.
"""

from celery.utils.dispatch import Signal

#: ``saga_id``, ``saga`` (its name), ``key``: the row of a new instance is committed, or will be with the caller's.
saga_started = Signal(name="saga_started", providing_args={"saga_id", "saga", "key"})

#: ``saga_id``, ``saga``, ``status``: the instance turned back (``compensating``), ended (``completed``,
#: ``compensated``, ``failed``), or goes on after an operator's retry. Forward progress, step by step, is not announced.
saga_status_changed = Signal(name="saga_status_changed", providing_args={"saga_id", "saga", "status"})

#: ``choreography``, ``handler`` (None: events that no handler gets), ``error`` (its type, or why no handler gets them),
#: ``count``, ``first`` (the id of the first): dead letters since the last such signal. At once, then one a minute.
dead_letters_found = Signal(
    name="dead_letters_found", providing_args={"choreography", "handler", "error", "count", "first"}
)

#: ``choreography``, ``handler``, ``error``, ``until``: the handler gave up many deliveries in a row and is paused.
handler_paused = Signal(name="handler_paused", providing_args={"choreography", "handler", "error", "until"})

#: ``saga_id``, ``saga``, ``event`` (a `sagas.HistoryEvent`), ``step``, ``detail``: an entry was added to the history.
saga_event = Signal(name="saga_event", providing_args={"saga_id", "saga", "event", "step", "detail"})
