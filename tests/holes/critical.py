"""C1 to C8: joins, cancels, doubt, pivots, draining and strays."""

from tests.holes.reversal import Edit, Reversal

MODEL = "tests/unit/model/"
STORE = "tests/integration/store/"
TESTS = "tests/integration/"

CRITICAL = (
    Reversal(
        letter="C1",
        hole="Branches that complete at once each count their siblings in a snapshot that is older than the lock "
        "they waited for: none of them finds itself last, and nobody dispatches what follows the join.",
        taken_away="`pending` of the locked row decides who is last; now the siblings are counted",
        edits=(
            Edit(
                "sagas/store/statements.py::COMPLETE::done",
                "(%(in_lane)s OR instance.pending = 1)",
                "(%(in_lane)s OR NOT EXISTS (SELECT FROM {s}.saga_step AS beside "
                "WHERE beside.instance_id = step.instance_id AND beside.status IN ('pending', 'running') "
                "AND beside.branch <> step.branch))",
            ),
        ),
        tests=(
            f"{STORE}test_locking.py::test_c1_of_branches_that_all_wait_for_the_instance_exactly_one_is_last",
            f"{STORE}test_locking.py::test_c1_of_branches_that_complete_at_once_exactly_one_is_last",
        ),
    ),
    Reversal(
        letter="C1",
        hole="A lane whose next step no statement can begin is handed over to whoever decides. Not counted as "
        "pending, it lets its sibling take itself for the last: the rest of the lane never runs.",
        taken_away="what is handed over stays pending",
        edits=(
            Edit(
                "sagas/store/hot.py::HotPath::complete",
                '"follow": 1 if following.needs_a_decision else len(',
                '"follow": len(',
            ),
        ),
        tests=(f"{STORE}test_handing_over.py::test_c1_a_lane_that_was_handed_over_is_waited_for",),
    ),
    Reversal(
        letter="C2",
        hole="A cancel sees an unclaimed step and turns back without it; a claim that waited for its row takes it "
        "afterwards: the action runs while everything is being undone, and its effect stays.",
        taken_away="leaving forward voids every unclaimed row in the same transaction",
        edits=(Edit("sagas/model/settle.py::turn_back", "draft.void(step)", "pass"),),
        tests=(
            f"{STORE}test_locking.py::test_c2_a_claim_that_waited_for_a_cancel_finds_its_step_voided",
            f"{MODEL}test_settle.py::test_c2_what_is_unclaimed_when_the_saga_turns_back_can_never_be_claimed",
            f"{MODEL}test_parallel.py::test_c2_what_is_unclaimed_beside_it_can_never_be_claimed",
        ),
    ),
    Reversal(
        letter="C2",
        hole="A claim that is not committed yet is invisible to a cancel that only locks the instance: the cancel "
        "voids the step over it, and does not wait for what runs.",
        taken_away="the loop locks the rows of the steps, too",
        edits=(Edit("sagas/store/loop_statements.py::_LOCKED", "step.round FOR UPDATE OF step", "step.round"),),
        tests=(
            f"{STORE}test_locking.py::test_c2_a_cancel_that_waited_for_a_claim_drains_what_was_claimed",
            f"{STORE}test_locking.py::test_c2_a_claim_that_waited_for_a_cancel_finds_its_step_voided",
        ),
    ),
    Reversal(
        letter="C2",
        hole="A completion that locks the step before the instance meets the loop, which locks the instance before "
        "the steps: they deadlock.",
        taken_away="one lock order: a completion locks the instance first",
        edits=(
            Edit(
                "sagas/store/statements.py::COMPLETE::instance",
                "FROM {s}.saga_instance AS instance WHERE id = %(instance_id)s FOR UPDATE",
                "FROM {s}.saga_instance AS instance WHERE id = %(instance_id)s",
            ),
        ),
        tests=(
            f"{STORE}test_locking.py::test_c2_a_completion_that_waits_for_the_loop_holds_no_lock_that_the_loop_needs",
        ),
    ),
    Reversal(
        letter="C2",
        hole="Somebody else who locks in another order makes PostgreSQL choose a victim; if that is ours, its step "
        "fails though nothing is wrong but the moment.",
        taken_away="the store tries again after a deadlock",
        edits=(
            Edit(
                "sagas/store/database.py::is_conflict",
                "return sqlstate(error) in (SERIALIZATION_FAILURE, DEADLOCK_DETECTED)",
                "return sqlstate(error) == SERIALIZATION_FAILURE",
            ),
        ),
        tests=(f"{STORE}test_locking.py::test_a_deadlock_made_by_somebody_else_is_tried_again",),
    ),
    Reversal(
        letter="C4",
        hole="A worker that finds its claim taken away calls its effect real and has it undone; but somebody else "
        "has completed the step with the same key: the saga goes on with its payment refunded.",
        taken_away="a late success is judged by the state; now a void token means an undo",
        edits=(
            Edit(
                "sagas/model/late.py::late_success",
                "if step.status is ExecutionStatus.COMPLETED:",
                "if step.address.is_action and step.status is not ExecutionStatus.RUNNING:\n"
                "    draft.status = SagaStatus.COMPENSATING\n"
                "    return stray(draft, step, event)\n"
                "if step.status is ExecutionStatus.COMPLETED:",
            ),
        ),
        tests=(
            f"{MODEL}test_late.py::test_c4_i_a_late_success_of_what_somebody_else_completed_is_absorbed",
            f"{MODEL}test_late.py::test_c4_i_also_when_the_saga_is_completed",
            f"{TESTS}test_late_branches.py::test_c4_a_late_success_of_a_branch_that_was_completed_elsewhere_is_absorbed",
        ),
    ),
    Reversal(
        letter="C4",
        hole="The commit of a completion succeeds and its answer is lost. Repeated, the completion finds nothing "
        "to complete, takes itself for a zombie, and has its own completed step undone.",
        taken_away="the rules know a completion by its own token",
        edits=(
            Edit(
                "sagas/model/reports.py::take_completion",
                "elif not (step.token == event.token and step.status in RESOLVED):",
                "else:",
            ),
        ),
        tests=(
            f"{MODEL}test_late.py::test_c4_ii_a_completion_that_is_repeated_is_a_success",
            f"{MODEL}test_late.py::test_c4_ii_a_late_completion_that_is_repeated_is_a_success_too",
            f"{MODEL}test_late.py::test_c4_ii_a_repeated_completion_is_no_reason_to_undo_twice",
        ),
    ),
    Reversal(
        letter="C4",
        hole="The same, in the process itself: it does not recognise its completion, ends the chain, and the saga "
        "waits.",
        taken_away="a process that completes nothing looks for its own token first",
        edits=(
            Edit(
                "sagas/engine/recording.py::Recording::_complete_action",
                "progress = progress or self._own_completion()",
                "",
            ),
        ),
        tests=(
            f"{TESTS}test_late_limits.py::test_m6_a_limit_that_strikes_around_the_completion_looks_at_its_own_token_first[after]",
        ),
    ),
    Reversal(
        letter="C4",
        hole="A redelivery has the task id of the delivery before it. As the token of a claim that id fences "
        "nobody: both take themselves for the holder, and the body runs twice at once.",
        taken_away="the token is made for each execution; now it is the task id",
        edits=(
            Edit(
                "sagas/engine/delivery.py::Delivery::__init__",
                "self.token = uuid4()",
                "self.token = UUID(str(self.request.id))",
            ),
        ),
        tests=(
            f"{TESTS}test_lost_and_doubled_messages.py::test_c4_a_message_that_is_delivered_again_while_it_runs_runs_once",
        ),
    ),
    Reversal(
        letter="C5",
        hole="The first attempt charges and is killed, the second is declined. Judged by the last one alone the "
        "step counts as not done, and the customer stays charged in a compensated saga.",
        taken_away="doubt is sticky",
        edits=(
            Edit(
                "sagas/model/executions.py::Executions::in_doubt",
                "(step.doubt or not verdict.is_clean)",
                "not verdict.is_clean",
            ),
        ),
        tests=(
            f"{MODEL}test_settle.py::test_c5_i_doubt_survives_a_later_clean_no",
            f"{MODEL}test_settle.py::test_c5_i_doubt_survives_a_loss",
            f"{TESTS}test_doubt.py::test_c5_doubt_survives_a_later_clean_no",
        ),
    ),
    Reversal(
        letter="C5",
        hole="Timeouts and lost connections are what a policy retries, and exactly the errors whose outcome is "
        "unknown. Given up after the last of them, the step counts as not done.",
        taken_away="a retryable error leaves doubt",
        edits=(
            Edit(
                "sagas/model/executions.py::Executions::in_doubt",
                "or not verdict.is_clean)",
                "or (not verdict.is_clean and verdict is not Verdict.RETRYABLE))",
            ),
        ),
        tests=(
            f"{MODEL}test_settle.py::test_c5_ii_attempts_that_all_ended_in_unknown_outcomes_are_compensated",
            f"{TESTS}test_doubt.py::test_c5_a_step_given_up_after_retryable_errors_is_undone_too",
        ),
    ),
    Reversal(
        letter="C5",
        hole="A timeout that the policy does not want to try again is taken for a clean no, though the other side "
        "may have acted.",
        taken_away="an unknown outcome is in doubt whatever the policy says",
        edits=(
            Edit(
                "sagas/model/retry.py::Verdict::of",
                "return cls(cls.RETRYABLE if again else cls.UNKNOWN)",
                "return cls(cls.RETRYABLE if again else cls.CLEAN_NO)",
            ),
        ),
        tests=(
            "tests/unit/engine/test_judging.py::test_c5_an_unknown_outcome_that_the_policy_does_not_try_again_is_in_doubt",
        ),
    ),
    Reversal(
        letter="C5",
        hole="A body has done its work and returns what cannot be stored: the step fails, the earlier ones are "
        "undone, and its own effect stays.",
        taken_away="an unusable result is no clean no",
        edits=(Edit("sagas/engine/recording.py::Recording::_unusable", "Verdict.UNUSABLE", "Verdict.CLEAN_NO"),),
        tests=(f"{TESTS}test_doubt.py::test_c5_a_step_whose_result_cannot_be_stored_is_undone_and_never_run_again",),
    ),
    Reversal(
        letter="C6",
        hole="The pivot is claimed and ships; a cancel or the deadline turns the saga back before it reports: "
        "refunded and shipped.",
        taken_away="from its claim on the pivot belongs to itself",
        edits=(
            Edit(
                "sagas/model/deadline.py::may_stop",
                "return (untouched or pivot.status is ExecutionStatus.FAILED) and not pivot.doubt",
                "return pivot.status not in (ExecutionStatus.COMPLETED, ExecutionStatus.SKIPPED)",
            ),
            Edit("sagas/model/deadline.py::is_overdue", "and (pivot is None or pivot.attempts == 0)", ""),
        ),
        tests=(
            f"{MODEL}test_pivot.py::test_c6_from_its_claim_on_a_cancel_only_counts_if_the_pivot_says_no",
            f"{MODEL}test_pivot.py::test_c6_so_it_is_with_a_deadline",
            f"{MODEL}test_pivot.py::test_c6_a_pivot_in_doubt_can_not_be_cancelled",
            f"{TESTS}test_pivots.py::test_c6_a_cancel_while_the_pivot_runs_is_recorded_and_does_not_turn_it_back",
        ),
    ),
    Reversal(
        letter="C6",
        hole="A crash of the database loses the claim of a pivot; a cancel takes it for untouched and turns back.",
        taken_away="a pivot whose claim may be lost is not untouched",
        edits=(
            Edit(
                "sagas/model/deadline.py::may_stop",
                "is ExecutionStatus.PENDING and not pivot.evidence.epoch_changed",
                "is ExecutionStatus.PENDING",
            ),
        ),
        tests=(
            f"{MODEL}test_pivot.py::test_c6_a_pivot_whose_claim_may_be_lost_can_not_be_cancelled",
            f"{STORE}test_crashes.py::test_c6_c9_a_cancel_after_a_crash_waits_for_the_pivot_that_was_perhaps_claimed",
        ),
    ),
    Reversal(
        letter="C6",
        hole="A pivot that is given up in doubt turns the saga back, though it may have happened and has no undo.",
        taken_away="never backwards out of doubt",
        edits=(
            Edit(
                "sagas/model/settle.py::can_turn_back",
                "(kind is StepKind.PIVOT and not step.doubt)",
                "kind is StepKind.PIVOT",
            ),
        ),
        tests=(
            f"{MODEL}test_pivot.py::test_c6_a_pivot_in_doubt_is_retried_and_then_left_to_a_person",
            f"{MODEL}test_pivot.py::test_c6_a_pivot_that_is_not_idempotent_is_never_run_twice_and_never_undone",
            f"{TESTS}test_pivots.py::test_c6_a_pivot_given_up_in_doubt_fails_and_undoes_nothing",
        ),
    ),
    Reversal(
        letter="C7",
        hole="A cancel undoes steps k-1 to 1 while step k is in the middle; k is undone after them, or never.",
        taken_away="turning back waits for what still runs",
        edits=(
            Edit(
                "sagas/model/undoing.py::settle_backward",
                "if any(step.is_live for step in draft.actions()):\n    return\n# Compensations that",
                "# Compensations that",
            ),
        ),
        tests=(
            f"{MODEL}test_settle.py::test_c7_what_is_claimed_is_awaited_before_anything_is_undone",
            f"{MODEL}test_parallel.py::test_c7_what_runs_beside_it_is_awaited_and_nothing_follows_in_its_lane",
            f"{TESTS}test_failing_steps.py::test_c7_a_cancel_waits_for_the_running_step_and_then_undoes_it_first",
        ),
    ),
    Reversal(
        letter="C7",
        hole="A completion that is guarded by the instance's status records nothing once the saga turns back: the "
        "effect of what was awaited is never undone.",
        taken_away="a completion is guarded by its token alone",
        edits=(
            Edit(
                "sagas/store/statements.py::COMPLETE::done",
                "AND step.round = 0 AND step.token = %(token)s AND step.status = 'running'",
                "AND step.round = 0 AND step.token = %(token)s AND step.status = 'running'\n"
                "AND instance.status IN ('pending', 'running')",
            ),
        ),
        tests=(
            f"{STORE}test_locking.py::test_c2_a_completion_that_waits_for_the_loop_holds_no_lock_that_the_loop_needs",
            f"{STORE}test_locking.py::test_c2_a_cancel_that_waited_for_a_claim_drains_what_was_claimed",
        ),
    ),
    Reversal(
        letter="C7",
        hole="A branch has failed; before anybody draws the consequence, a completion beside it lets the "
        "next step of its lane begin.",
        taken_away="beside others a failure turns the saga back in its own transaction",
        edits=(
            Edit(
                "sagas/model/decide.py::fail",
                "not draft.status.is_forward or draft.plan.is_parallel(event.address.position):\n    settle",
                "not draft.status.is_forward:\n    settle",
            ),
            Edit(
                "sagas/model/decide.py::decide",
                "(draft.status.is_forward and plan.is_parallel(draft.position)):",
                "(draft.status.is_forward and plan.is_parallel(draft.position) and not isinstance(event, Failed)):",
            ),
        ),
        tests=(
            f"{MODEL}test_parallel.py::test_a_branch_that_says_no_turns_the_saga_back_in_the_same_transaction",
            f"{STORE}test_locking.py::test_c7_a_lane_does_not_go_on_once_another_one_has_failed",
        ),
    ),
    Reversal(
        letter="C8",
        hole="A step is undone while its first holder is frozen before its effect; the holder wakes, the effect "
        "lands and is reported, and nothing undoes it, since its undo is done.",
        taken_away="a stray effect gets another round of its undo",
        edits=(
            Edit(
                "sagas/model/undoing.py::is_outstanding",
                "or undo.is_live or (undo.status in RESOLVED and action.stray)",
                "or undo.is_live",
            ),
        ),
        tests=(
            f"{MODEL}test_late.py::test_c8_a_late_success_while_the_compensation_runs_gets_another_round",
            f"{MODEL}test_late.py::test_c8_a_late_success_after_its_undo_reopens_a_compensated_saga",
            f"{MODEL}test_late.py::test_c8_a_late_success_of_a_completed_and_undone_step_is_undone_again",
        ),
    ),
    Reversal(
        letter="C8",
        hole="A second round under the key of the first makes the remote service repeat its first answer: there "
        "was nothing to undo.",
        taken_away="each round of an undo has a key of its own",
        edits=(
            Edit(
                "sagas/engine/context.py::StepContext::idempotency_key",
                'again = f":{self.round}" if self.round > 1 else ""',
                'again = ""',
            ),
        ),
        tests=(
            "tests/unit/engine/test_context.py::test_c8_each_round_of_a_compensation_has_its_own_key_and_the_actions_key_stays",
        ),
    ),
    Reversal(
        letter="C8",
        hole="A holder that is suspected but not proven dead may still act behind a cut cable: undone at once, its "
        "effect lands after its undo.",
        taken_away="the step of a silent holder is undone only when its time is over",
        edits=(
            Edit(
                "sagas/model/executions.py::Executions::lost",
                "elif proven or self.now >= self.end_of(step) or not step.address.is_action:",
                "else:",
            ),
        ),
        tests=(
            f"{MODEL}test_settle.py::test_c8_what_a_silent_holder_may_still_do_is_undone_only_when_its_time_is_over",
            f"{STORE}test_deaths.py::test_c10_the_holders_of_a_worker_declared_dead_are_silent_not_proven_dead",
        ),
    ),
)
