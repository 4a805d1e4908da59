"""H9 to H13: clocks, ids, arguments and transactions of steps."""

from tests.holes.reversal import Edit, Reversal

MODEL = "tests/unit/model/"
ENGINE = "tests/unit/engine/"
STORE = "tests/integration/store/"
TIMES = f"{STORE}test_times.py::"
DOUBLED = "tests/integration/test_lost_and_doubled_messages.py::"
SEEN = "tests/integration/test_data_through_steps.py::"
CURRENT = "tests/integration/test_current_step.py::"

HIGH_LATER = (
    Reversal(
        letter="H9",
        hole="`now()` is the moment at which the transaction began: a completion in a step's own transaction of "
        "ten minutes stores that its saga last moved ten minutes ago.",
        taken_away="a completion reads the clock",
        edits=(
            Edit(
                "sagas/store/statements.py::COMPLETE::moved",
                "updated_at = clock_timestamp()\nFROM done",
                "updated_at = now()\nFROM done",
            ),
        ),
        tests=(f"{TIMES}test_h9_a_completion_in_the_steps_own_long_transaction_is_of_now",),
    ),
    Reversal(
        letter="H9",
        hole="A start in a transaction that stays open for long is overdue when it commits.",
        taken_away="a start reads the clock",
        edits=(
            Edit(
                "sagas/store/statements.py::START::born",
                "clock_timestamp() + make_interval(secs => CAST(:deadline_seconds AS double precision)))",
                "now() + make_interval(secs => CAST(:deadline_seconds AS double precision)))",
            ),
        ),
        tests=(f"{TIMES}test_h9_a_start_in_a_long_transaction_is_not_overdue_when_it_commits",),
    ),
    Reversal(
        letter="H9",
        hole="A deadline in seconds runs while the start's transaction is open and its message waits behind a "
        "backlog: the saga is born over its deadline.",
        taken_away="a deadline in seconds counts from the first claim; now from the start",
        edits=(
            Edit(
                "sagas/store/statements.py::START::born",
                "CAST(:deadline AS timestamptz), CAST",
                "coalesce(CAST(:deadline AS timestamptz),\n"
                "    now() + make_interval(secs => CAST(:deadline_seconds AS double precision))), CAST",
            ),
        ),
        tests=(f"{TIMES}test_h9_a_deadline_in_seconds_counts_from_the_first_claim",),
    ),
    Reversal(
        letter="H9",
        hole="An event that waited for the instance's lock is dated when it queued up.",
        taken_away="the clock is read after the lock",
        edits=(
            Edit(
                "sagas/store/loop_statements.py::LOAD",
                "clock_timestamp() AS now,",
                "statement_timestamp() AS now,",
            ),
        ),
        tests=(f"{TIMES}test_h9_the_clock_is_read_after_the_lock_was_waited_for",),
    ),
    Reversal(
        letter="H10",
        hole="Somebody revokes a message. If its task id is the saga's, every worker discards every further "
        "dispatch, for three hours and without a word.",
        taken_away="every dispatch has a fresh task id; now the first step's is the saga's id",
        edits=(
            Edit(
                "sagas/engine/messages.py::Messages::send",
                "callback = self._callback(instance_id, plan)",
                "callback = self._callback(instance_id, plan)\nsignatures[0].set(task_id=str(instance_id))",
            ),
        ),
        tests=(
            f"{DOUBLED}test_h10_every_dispatch_has_a_fresh_task_id_under_the_sagas_id",
            f"{DOUBLED}test_h10_revoking_a_message_does_not_stop_its_saga",
        ),
    ),
    Reversal(
        letter="H11",
        hole="A later step returns a name that an earlier one has returned too: the earlier one's undo releases "
        "the wrong thing.",
        taken_away="an undo gets its own action's result before the data",
        edits=(
            Edit("sagas/engine/binding.py::bind", "whole = {**data, **own_result}", "whole = {**own_result, **data}"),
        ),
        tests=(f"{ENGINE}test_binding.py::test_h11_a_compensation_gets_its_actions_own_result_before_the_data",),
    ),
    Reversal(
        letter="H11",
        hole="An undo sees what was returned after its action, which may be of another attempt or another meaning.",
        taken_away="an undo sees the data as of its action's claim",
        edits=(
            Edit(
                "sagas/store/statements.py::CLAIM",
                "AND (earlier.position < claimed.position OR (earlier.position = claimed.position\n"
                "     AND earlier.lane = claimed.lane AND earlier.branch < claimed.branch))) AS",
                ") AS",
            ),
        ),
        tests=(
            f"{SEEN}test_h11_a_compensation_sees_its_own_actions_result_first_and_the_data_as_of_its_actions_claim",
            "tests/integration/test_parallel.py::test_h11_an_undo_of_a_branch_sees_its_own_lane_and_none_of_its_siblings",
        ),
    ),
    Reversal(
        letter="H11",
        hole="An action in doubt has no result: an undo whose parameter only that result gives cannot be called, "
        "and the saga ends `failed`.",
        taken_away="such a parameter needs a default",
        edits=(
            Edit(
                "sagas/definition/checks.py::check_part",
                "if name is None or name in known[0]:",
                "if name is None or name in known[0] | (need.own or frozenset()):",
            ),
        ),
        tests=(
            "tests/unit/definition/test_refusals.py::test_h11_a_compensations_parameter_that_only_its_actions_result_gives_needs_a_default",
        ),
    ),
    Reversal(
        letter="H11",
        hole="A deploy renames a parameter: that the task cannot be called is taken for a clean no of its body.",
        taken_away="what cannot be called is parked",
        edits=(
            Edit(
                "sagas/engine/recording.py::Recording::record",
                "return self._parked(error, lacks_result=lacks_result)",
                "policy = self._step.retry_for(self._address.round)\n"
                "return self._raised(error, judge(error, policy, self._step.name, self._delivery.redact))",
            ),
        ),
        tests=(
            f"{SEEN}test_h11_a_missing_parameter_parks_the_step_in_the_open_until_a_deploy_cures_it",
            f"{SEEN}test_h11_a_parked_compensation_is_no_failed_one",
        ),
    ),
    Reversal(
        letter="H12",
        hole="A body commits the transaction of its step: an effect without a record.",
        taken_away="the step's connection cannot be committed or closed by the body",
        edits=(
            Edit(
                "sagas/engine/transaction.py::_OURS", '_OURS = ("commit", "rollback", "close", "detach")', "_OURS = ()"
            ),
        ),
        tests=(f"{CURRENT}test_h12_a_step_cannot_end_the_transaction_itself",),
    ),
    Reversal(
        letter="H12",
        hole="A body swallows the error of a statement, or loses its connection; recorded on another one, its "
        "completion stands without what it has written.",
        taken_away="the completion is part of the step's transaction",
        edits=(
            Edit(
                "sagas/engine/recording.py::Recording::_completed",
                "complete(connection=transaction.connection if transaction.is_open else None)",
                "complete(connection=None)",
            ),
        ),
        tests=(
            f"{CURRENT}test_h12_a_swallowed_error_of_a_statement_does_not_complete_the_step",
            f"{CURRENT}test_h12_a_step_whose_connection_was_lost_does_not_complete",
        ),
    ),
    Reversal(
        letter="H12",
        hole="A frozen attempt wakes up when another one has completed the step, and commits what it has written.",
        taken_away="a lost claim rolls the step's transaction back",
        edits=(
            Edit(
                "sagas/engine/recording.py::Recording::_complete_action",
                "if progress is None and not self._is_completed_in_transaction():",
                "if False:",
            ),
        ),
        tests=(
            "tests/integration/test_late_successes.py::test_h12_a_lost_claim_rolls_the_steps_own_transaction_back_and_is_no_late_success",
        ),
    ),
    Reversal(
        letter="H13",
        hole="Celery ends a chain at an exception: the undos behind one that has failed for good are never sent.",
        taken_away="who records the failure of an undo sends the next one",
        edits=(
            Edit(
                "sagas/model/decide.py::fail",
                "not draft.status.is_forward or draft.plan.is_parallel(event.address.position):\n    settle",
                "(draft.status.is_forward and draft.plan.is_parallel(event.address.position)):\n    settle",
            ),
        ),
        tests=(f"{MODEL}test_settle.py::test_h13_when_a_compensation_has_failed_for_good_the_others_still_run",),
    ),
    Reversal(
        letter="H13",
        hole="Undoing stops at the first undo that has failed for good, and everything before it stays done.",
        taken_away="the others still run",
        edits=(
            Edit(
                "sagas/model/undoing.py::settle_backward",
                "stops = draft.plan.stop_at_failed_undo and not all(",
                "stops = not all(",
            ),
        ),
        tests=(
            f"{MODEL}test_settle.py::test_h13_when_a_compensation_has_failed_for_good_the_others_still_run",
            "tests/integration/test_failing_compensations.py::test_h13_two_compensations_that_fail_for_good_do_not_stop_the_third",
        ),
    ),
)
