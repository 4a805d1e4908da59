"""The names of events in an instance's history, and of errors for which no exception exists.

Rows store the values, so a value never changes. `docs/events-and-reasons.md` explains each at length.
"""

from enum import StrEnum


class HistoryEvent(StrEnum):
    """An event in an instance's history, also sent with the signal `saga_event`.

    Each line: the author; what to do. A history that another release wrote may contain other names.
    """

    # Read from the rows of the instance and of its executions.
    STARTED = "started"  # `start`; nothing to do
    STEP_STARTED = "step_started"  # the worker that claims an action for the first time; nothing to do
    STEP_COMPLETED = "step_completed"  # the worker that ran it; nothing to do
    STEP_FAILED = "step_failed"  # the worker or the sweep that gave the action up; see its `attempt_failed`
    STEP_SKIPPED = "step_skipped"  # its condition, a saga that turned back before it, or a person; nothing to do
    COMPENSATION_STARTED = "compensation_started"  # the worker that claims it for the first time; nothing to do
    COMPENSATION_COMPLETED = "compensation_completed"  # the worker that ran it, or a person; nothing to do
    COMPENSATION_FAILED = "compensation_failed"  # the worker or the sweep that gave it up; see `needs_a_person`
    COMPENSATION_SKIPPED = "compensation_skipped"  # a person who says there is nothing to undo; nothing to do
    COMPLETED = "completed"  # the end of the last step; nothing to do
    COMPENSATED = "compensated"  # the end of the last compensation; nothing to do
    FAILED = "failed"  # a failure after which it cannot go on; see `needs_a_person`

    # About one execution.
    ATTEMPT_FAILED = "attempt_failed"  # the worker, or the sweep in its place; nothing while it is tried again
    POLL_LIMIT_PASSED = "poll_limit_passed"  # the worker whose step polls beyond `poll_for`; raise that if need be
    HOLDER_LOST = "holder_lost"  # the sweep, or the worker that starts next; if frequent, find what kills workers
    GIVEN_UP_IN_DOUBT = "given_up_in_doubt"  # the sweep, after a crash of PostgreSQL; nothing: it is undone
    PARKED = "parked"  # the worker that cannot call the task; deploy what the error names
    NEEDS_AN_ANSWER = "needs_an_answer"  # the worker that cannot call a compensation without a result; `resolve`
    COMPENSATION_DEADLINE_PASSED = "compensation_deadline_passed"  # the try that would come after it; `retry` or `skip`
    UNDONE_IN_PART = "undone_in_part"  # the compensation itself; check what it left
    SIGNAL_RECEIVED = "signal_received"  # the `WaitFor` that takes it; nothing to do
    SIGNAL_TIMED_OUT = "signal_timed_out"  # the sweep; nothing to do
    CHILD_COMPENSATED = "child_compensated"  # the parent, about its child saga; see the child's error
    LATE_SUCCESS = "late_success"  # an execution that had lost its claim; nothing: `outcome` says what follows
    LATE_FAILURE = "late_failure"  # the same, in doubt; nothing: `outcome` says what follows

    # About the instance.
    DEADLINE_PASSED = "deadline_passed"  # the first look after it; nothing to do
    STOP_REQUESTED = "stop_requested"  # `cancel`, or the parent that turns back; nothing to do
    UNDONE_BY_PARENT = "undone_by_parent"  # the parent that turns back after this child ended; nothing to do
    SIGNAL_TOO_LATE = "signal_too_late"  # a signal that no step takes any more; tell its sender
    NEEDS_A_PERSON = "needs_a_person"  # a failure after which it cannot go on; `retry`, `skip` or `resolve`
    RETRY_REQUESTED = "retry_requested"  # `retry`; nothing to do
    SKIP_REQUESTED = "skip_requested"  # `skip`; nothing to do
    RESOLVED_BY_HAND = "resolved_by_hand"  # `resolve`, about a compensation; nothing to do
    DOUBT_RESOLVED = "doubt_resolved"  # `resolve`, about an action in doubt; nothing to do
    HANDLER_CLOSED = "handler_closed"  # an event that undoes it, or a run that turns back; nothing to do
    EVENT_UNDELIVERED = "event_undelivered"  # an event that came too late, or one too many; see its `reason`
    DEAD_LETTER = "dead_letter"  # a delivery that was given up; `replay` or `skip` it
    REPLAYED = "replayed"  # a person who has a dead letter delivered again; nothing to do
    WENT_QUIET = "went_quiet"  # the look at a run in which nothing has happened for too long; find what it waits for
    SWEEP_FAILED = "sweep_failed"  # the sweep, which tries again later; mend what the error names
    PURGED = "purged"  # `purge(keep_keys=True)`; nothing to do


class Reason(StrEnum):
    """The type of an error that the library itself decided on, where no exception was raised (see `ErrorInfo.type`).

    Each line: the author; what to do.
    """

    CANCELLED = "sagas.Cancelled"  # `cancel`, or the parent that turns back; nothing to do
    DEADLINE_EXCEEDED = "sagas.DeadlineExceeded"  # the deadline of `start`; nothing to do
    RESOURCE_LOCKED = "sagas.ResourceLocked"  # `if_locked="refuse"`, of two starts at one moment; start it again
    STEP_TIMEOUT = "sagas.StepTimeout"  # the sweep, about a step beyond its `timeout`; nothing while it is tried again
    TERMINATED = "sagas.Terminated"  # the worker whose task was revoked and terminated; nothing: it is undone
    HOLDER_LOST = "sagas.HolderLost"  # the sweep, about a step whose process died too often; find what kills it
    CLAIM_LOST = "sagas.ClaimLost"  # the sweep after a crash of PostgreSQL, or a late record; nothing: it is undone
    STEP_FAILED = "sagas.StepFailed"  # a step that was given up and has no error of its own; see its history
    KEY_CLASH = "sagas.KeyClash"  # the second of two branches that return the same name; rename one
    SIGNAL_TIMEOUT = "sagas.SignalTimeout"  # the `WaitFor` whose signal did not come in time; nothing to do
    CHILD_COMPENSATED = "sagas.ChildCompensated"  # a child saga that was undone and has no error; see its history
    MANUAL_UNDO = "sagas.ManualUndo"  # a compensation that asks for a person; undo it by hand, then `resolve`
    IN_DOUBT = "sagas.InDoubt"  # an action about which only a person can tell; `resolve`
    HANDLER_CLOSED = "sagas.HandlerClosed"  # the event that undoes its handler, or the turn of its run; nothing to do
    REFUSED = "sagas.Refused"  # an event that its choreography names in `refuses`; nothing: the run is undone
    HEADERS_MISSING = "sagas.HeadersMissing"  # the worker that got a message of an older release; replace that one
