"""H1 to H5, H9 to H13: messages, counters, the sweep, clocks, arguments and transactions of steps."""

from tests.holes.reversal import Edit, Reversal

MODEL = "tests/unit/model/"
ENGINE = "tests/unit/engine/"
STORE = "tests/integration/store/"
CRASHES = f"{STORE}test_crashes.py::"
SWEEPING = f"{STORE}test_sweeping.py::"
TIMES = f"{STORE}test_times.py::"
DOUBLED = "tests/integration/test_lost_and_doubled_messages.py::"
SEEN = "tests/integration/test_data_through_steps.py::"
CURRENT = "tests/integration/test_current_step.py::"

HIGH = (
    Reversal(
        letter="H1",
        hole="A duplicate that finds nothing to claim returns, and Celery publishes the rest of its chain: n "
        "copies make n walkers, to the end of the saga.",
        taken_away="dropping a message cuts the tail of its chain",
        edits=(Edit("sagas/engine/messages.py", "    request.chain = None\n", "    return\n"),),
        tests=(
            f"{ENGINE}test_messages.py::test_h1_a_cut_tail_is_none",
            f"{DOUBLED}test_h1_copies_of_a_message_that_arrive_together_make_one_walker",
            f"{DOUBLED}test_h1_a_copy_of_a_completed_step_does_not_walk_on_beside_the_first_walker",
        ),
    ),
    Reversal(
        letter="H1",
        hole="Copies that queue behind one another each find the step completed and the next one unclaimed, and "
        "walk on.",
        taken_away="of a completed step's messages only a redelivery walks on",
        edits=(
            Edit(
                "sagas/engine/execution.py",
                'bool((self.request.delivery_info or {}).get("redelivered"))\n            and own is not None',
                "own is not None",
            ),
        ),
        tests=(f"{DOUBLED}test_h1_copies_that_queue_behind_one_another_make_one_walker",),
    ),
    Reversal(
        letter="H2",
        hole="The error callback of the first attempt arrives after a backlog, when the second one runs: taken for "
        "a verdict it turns a healthy saga back.",
        taken_away="the error callback is a hint, and the rows decide",
        edits=(
            Edit(
                "sagas/extension.py",
                "            engine.loop.handle(instance_id, Tick())\n",
                "            from sagas.model import Stop, StopKind, StopRequested\n\n"
                '            failed = Stop(kind=StopKind.CANCELLED, reason="a step failed")\n'
                "            engine.loop.handle(instance_id, StopRequested(stop=failed))\n",
            ),
        ),
        tests=(f"{DOUBLED}test_h2_an_error_callback_that_comes_late_turns_nobody_back",),
    ),
    Reversal(
        letter="H2",
        hole="A deploy kills the process of a step; counted as a failure, that uses up `max_attempts=1`, and the "
        "saga is undone for nothing.",
        taken_away="losses are counted apart from failures",
        edits=(Edit("sagas/model/state.py", "return self.attempts - self.losses", "return self.attempts"),),
        tests=(f"{MODEL}test_decide.py::test_h2_losses_use_up_no_attempt",),
    ),
    Reversal(
        letter="H2",
        hole="A step that kills its process every time is run again for ever.",
        taken_away="losses have a budget of their own",
        edits=(
            Edit(
                "sagas/model/draft.py",
                "within_budget = step.losses + 1 <= self.plan_step(step).max_losses",
                "within_budget = True",
            ),
        ),
        tests=(f"{MODEL}test_decide.py::test_h2_losses_have_a_budget_of_their_own",),
    ),
    Reversal(
        letter="H3",
        hole="A claim does not move `due_at`: a step that queued for long and whose holder dies at once is looked "
        "at when it would have been anyway, up to a minute later.",
        taken_away="the sweep picks what the dead hold, due or not",
        edits=(
            Edit(
                "sagas/store/sweep_statements.py",
                "(instance.due_at <= statement_timestamp() OR EXISTS (",
                "(instance.due_at <= statement_timestamp() OR false AND EXISTS (",
            ),
        ),
        tests=(
            f"{CRASHES}test_h3_a_claim_that_a_later_heartbeat_does_not_list_is_dead_and_due_at_once",
            f"{CRASHES}test_h3_a_dead_holder_is_found_at_once_also_after_a_long_wait_in_the_queue",
            f"{CRASHES}test_h3_a_worker_that_said_goodbye_holds_nothing",
        ),
    ),
    Reversal(
        letter="H4",
        hole="One instance on which a look raises ends the pass: all that is due after it is never looked at.",
        taken_away="an instance that raises does not stop the pass",
        edits=(
            Edit(
                "sagas/recovery/sweep.py",
                "        if isinstance(error, DBAPIError) and is_outage(error):\n            raise\n",
                "        raise\n",
            ),
        ),
        tests=(
            f"{SWEEPING}test_h4_one_bad_instance_backs_off_alone_twice_as_long_each_time_with_an_event",
            f"{SWEEPING}test_h4_more_bad_instances_than_one_batch_do_not_starve_the_good_one",
        ),
    ),
    Reversal(
        letter="H4",
        hole="Bad instances stay the first that are due; as many of them as are picked at once fill every batch "
        "for ever.",
        taken_away="an instance that raises backs off",
        edits=(
            Edit(
                "sagas/recovery/sweep.py",
                "        engine.store.sweeping.back_off(instance_id, told.to_json())\n",
                "",
            ),
        ),
        tests=(f"{SWEEPING}test_h4_more_bad_instances_than_one_batch_do_not_starve_the_good_one",),
    ),
    Reversal(
        letter="H4",
        hole="A sweep waits for an instance that somebody holds, and everything else that is due waits with it.",
        taken_away="the sweep passes over what is locked",
        edits=(
            Edit(
                "sagas/recovery/sweep.py", "tick, skip_locked=True, patience=0", "tick, skip_locked=False, patience=0"
            ),
        ),
        tests=(f"{SWEEPING}test_h4_a_locked_instance_is_passed_over_and_the_others_are_moved",),
    ),
    Reversal(
        letter="H4",
        hole="A pile of sweep messages, as a backlog leaves it, makes as many passes over everything.",
        taken_away="a sweep that follows another one at once returns",
        edits=(
            Edit(
                "sagas/store/sweep_statements.py", "AND (:forced OR former.swept_at <", "AND (true OR former.swept_at <"
            ),
        ),
        tests=(f"{SWEEPING}test_h4_a_pile_of_sweeps_returns_at_once",),
    ),
    Reversal(
        letter="H5",
        hole="Ten thousand sagas behind a worker that is away for ten minutes are sent again every few seconds, "
        "and become sixty thousand messages.",
        taken_away="without evidence a message is sent again after a minute, four, ten; now after five seconds, ten, "
        "twenty",
        edits=(
            Edit(
                "sagas/model/draft.py",
                "FIRST_PATIENCE = timedelta(seconds=60)\nPATIENCE_FACTOR = 4",
                "FIRST_PATIENCE = timedelta(seconds=5)\nPATIENCE_FACTOR = 2",
            ),
            Edit(
                "sagas/store/sweep_statements.py",
                "AND step.dispatched_at + interval '60 seconds' > clock_timestamp()",
                "AND step.dispatched_at + interval '5 seconds' > clock_timestamp()",
            ),
        ),
        tests=(
            f"{MODEL}test_examine.py::test_h5_a_backlog_is_no_loss",
            f"{SWEEPING}test_h5_a_backlog_of_ten_minutes_costs_less_than_three_messages_a_saga",
            f"{SWEEPING}test_h5_nothing_is_sent_again_within_the_first_minute",
        ),
    ),
    Reversal(
        letter="H5",
        hole="A message that a frozen worker or a flushed broker has lost costs its saga the whole patience, on "
        "idle workers.",
        taken_away="an overtaken message is sent again at once",
        edits=(
            Edit(
                "sagas/model/decide.py",
                "if step.overtaken or draft.patience_over(step):",
                "if draft.patience_over(step):",
            ),
        ),
        tests=(
            f"{MODEL}test_examine.py::test_h5_a_message_that_was_overtaken_is_sent_again_at_once",
            f"{SWEEPING}test_h5_a_message_that_a_later_one_overtook_is_sent_again_at_once",
            f"{SWEEPING}test_h5_a_message_whose_consumers_sit_idle_is_sent_again_at_once",
        ),
    ),
    Reversal(
        letter="H5",
        hole="A message that nobody can take is evidence of its own loss each time: a storm beside an idle worker.",
        taken_away="the evidence has to be twice as old each time",
        edits=(
            Edit(
                "sagas/store/statements.py",
                "+ CAST(:lease AS interval) * power(2, least(greatest(step.dispatches, 1), 9) - 1))))",
                "+ CAST(:lease AS interval))))",
            ),
        ),
        tests=(f"{SWEEPING}test_h5_a_message_that_nobody_can_take_becomes_no_storm",),
    ),
    Reversal(
        letter="H9",
        hole="`now()` is the moment at which the transaction began: a completion in a step's own transaction of "
        "ten minutes stores a `due_at` that passed ten minutes ago, and is sent twice.",
        taken_away="a completion reads the clock",
        edits=(
            Edit(
                "sagas/store/statements.py",
                "WHEN done.advances AND NOT %(in_lane)s THEN clock_timestamp() + %(lease)s",
                "WHEN done.advances AND NOT %(in_lane)s THEN now() + %(lease)s",
            ),
            Edit(
                "sagas/store/statements.py",
                "WHEN moving.due_at BETWEEN clock_timestamp() + %(half_lease)s AND clock_timestamp() + %(lease)s",
                "WHEN moving.due_at BETWEEN now() + %(half_lease)s AND now() + %(lease)s",
            ),
        ),
        tests=(f"{TIMES}test_h9_a_completion_in_the_steps_own_long_transaction_is_of_now",),
    ),
    Reversal(
        letter="H9",
        hole="A start in a transaction that stays open for long is overdue when it commits: dispatched twice.",
        taken_away="a start reads the clock",
        edits=(
            Edit(
                "sagas/store/statements.py",
                "            clock_timestamp() + CASE WHEN cardinality",
                "            now() + CASE WHEN cardinality",
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
                "sagas/store/statements.py",
                "            CAST(:deadline AS timestamptz), CAST",
                "            coalesce(CAST(:deadline AS timestamptz),\n"
                "                now() + make_interval(secs => CAST(:deadline_seconds AS double precision))), CAST",
            ),
        ),
        tests=(f"{TIMES}test_h9_a_deadline_in_seconds_counts_from_the_first_claim",),
    ),
    Reversal(
        letter="H9",
        hole="An event that waited for the instance's lock is dated when it queued up.",
        taken_away="the clock is read after the lock",
        edits=(Edit("sagas/store/instances.py", "now=max([row.now, *(step.now for step in steps)]),", "now=row.now,"),),
        tests=(f"{TIMES}test_h9_the_clock_is_read_after_the_lock_was_waited_for",),
    ),
    Reversal(
        letter="H10",
        hole="Somebody revokes a message. If its task id is the saga's, every worker discards every further "
        "dispatch, for three hours and without a word.",
        taken_away="every dispatch has a fresh task id; now the first step's is the saga's id",
        edits=(
            Edit(
                "sagas/engine/messages.py",
                "        callback = self._callback(instance_id, plan)\n",
                "        callback = self._callback(instance_id, plan)\n"
                "        signatures[0].set(task_id=str(instance_id))\n",
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
        edits=(Edit("sagas/engine/binding.py", "whole = {**data, **own_result}", "whole = {**own_result, **data}"),),
        tests=(f"{ENGINE}test_binding.py::test_h11_a_compensation_gets_its_actions_own_result_before_the_data",),
    ),
    Reversal(
        letter="H11",
        hole="An undo sees what was returned after its action, which may be of another attempt or another meaning.",
        taken_away="an undo sees the data as of its action's claim",
        edits=(
            Edit(
                "sagas/store/statements.py",
                "          AND (earlier.position < claimed.position OR (earlier.position = claimed.position\n"
                "               AND earlier.lane = claimed.lane AND earlier.branch < claimed.branch))) AS",
                "          ) AS",
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
                "sagas/definition/checks.py",
                "for name in sorted(wanted - certain):",
                "for name in sorted(wanted - certain - (own or frozenset())):",
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
                "sagas/engine/execution.py",
                "            return self.parked(error, step.name)\n",
                "            return self.failed(error, judge(error, policy, step.name, self.redact))\n",
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
        edits=(Edit("sagas/engine/transaction.py", '_OURS = ("commit", "rollback", "close", "detach")', "_OURS = ()"),),
        tests=(f"{CURRENT}test_h12_a_step_cannot_end_the_transaction_itself",),
    ),
    Reversal(
        letter="H12",
        hole="A body swallows the error of a statement, or loses its connection; recorded on another one, its "
        "completion stands without what it has written.",
        taken_away="the completion is part of the step's transaction",
        edits=(
            Edit(
                "sagas/engine/execution.py",
                "connection=transaction.connection if transaction.is_open else None,",
                "connection=None,",
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
                "sagas/engine/execution.py",
                "            if progress is None and not self.completed_in(plan, transaction):\n",
                "            if False:\n",
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
                "sagas/model/decide.py",
                "    if not draft.status.is_forward or draft.plan.is_parallel(step.address.position):",
                "    if draft.status.is_forward and draft.plan.is_parallel(step.address.position):",
            ),
        ),
        tests=(f"{MODEL}test_settle.py::test_h13_when_a_compensation_has_failed_for_good_the_others_still_run",),
    ),
    Reversal(
        letter="H13",
        hole="Undoing stops at the first undo that has failed for good, and everything before it stays done.",
        taken_away="the others still run",
        edits=(Edit("sagas/model/settle.py", "if failed and draft.plan.stop_at_failed_undo else", "if failed else"),),
        tests=(
            f"{MODEL}test_settle.py::test_h13_when_a_compensation_has_failed_for_good_the_others_still_run",
            "tests/integration/test_failing_compensations.py::test_h13_two_compensations_that_fail_for_good_do_not_stop_the_third",
        ),
    ),
)
