"""C1 to C17: steps that follow one another under one message."""

from tests.holes.reversal import Edit, Reversal

TESTS = "tests/integration/test_continuation.py::"
LOOP = "sagas/engine/continuing.py"
WORKER = "sagas/recovery/worker.py"

BETWEEN = "tests/integration/test_between_two_steps.py::"
#: A claim that is made with the completion before it.
AHEAD = Edit(
    f"{LOOP}::Continuation::take",
    "self._next = _Next(instance_id, plan, head)",
    "self._next = _Next(instance_id, plan, head)\n"
    "self._engine.store.hot.claim(\n"
    "    instance_id,\n"
    "    head,\n"
    "    task=str(plan.step(head.position, head.branch).task),\n"
    "    token=uuid4(),\n"
    "    worker_id=self._worker_id,\n"
    "    delivery=self.delivery,\n"
    "    known_plans=(),\n"
    ")",
)

OF_CONTINUING = (
    Reversal(
        letter="C1",
        hole="Limits belong to the message: a step of an hour is ended by those of the first, after a second.",
        taken_away="the child keeps the limits of each step",
        edits=(
            Edit(
                f"{LOOP}::limits_kept",
                "nullcontext() if continuation is None else "
                "continuation.watching(Limits(claim.timeout, claim.soft_timeout))",
                "nullcontext()",
            ),
        ),
        tests=(f"{TESTS}test_c1_each_step_has_its_own_limits_counted_from_its_own_start",),
    ),
    Reversal(
        letter="C3",
        hole="A claim that is made ahead sees what no other process sees, and stands there if its own one dies.",
        taken_away="the next step is claimed when it begins, and not with the completion before it",
        edits=(AHEAD,),
        tests=(f"{BETWEEN}test_c3_the_next_step_is_born_with_the_completion_and_claimed_by_a_statement_of_its_own",),
    ),
    Reversal(
        letter="C4",
        hole="A step that was claimed ahead and never began is in doubt; if it is not idempotent, it is given up.",
        taken_away="what lies between two steps is merely unclaimed",
        edits=(AHEAD,),
        tests=(
            f"{BETWEEN}test_c4_a_process_that_is_killed_between_two_steps_leaves_nothing_in_doubt",
            f"{BETWEEN}test_c4_what_a_lost_answer_did_is_found_by_the_token_of_its_step",
        ),
    ),
    Reversal(
        letter="C5",
        hole="Within the body of the first step the second one begins before the first one's success is told.",
        taken_away="each step is traced whole before the next",
        edits=(
            Edit(
                f"{LOOP}::Continuation::take",
                "self._next = _Next(instance_id, plan, head)",
                "self._step(_Next(instance_id, plan, head), [], {'saga_id': str(instance_id)})",
            ),
        ),
        tests=(f"{TESTS}test_c5_each_step_is_traced_whole_before_the_next_with_a_request_of_its_own",),
    ),
    Reversal(
        letter="C6",
        hole="A message that carries the steps behind its own has Celery publish what has run under it already.",
        taken_away="the message of an inline saga has no tail",
        edits=(
            Edit(
                "sagas/engine/messages.py::Messages::send",
                "for address in (window[:1] if inline else window)",
                "for address in window",
            ),
        ),
        tests=(f"{BETWEEN}test_c6_its_message_has_no_tail",),
    ),
    Reversal(
        letter="C6",
        hole="A worker falls after several steps of one message, and the step that is next was never sent.",
        taken_away="a redelivery sends what is unclaimed",
        edits=(
            Edit(
                "sagas/engine/unclaimed.py::nothing_to_claim",
                "lines.put_back(instance_id, address)",
                "pass",
            ),
        ),
        tests=(f"{BETWEEN}test_c6_redelivered_after_several_steps_it_sends_the_one_that_was_never_sent",),
    ),
    Reversal(
        letter="C7",
        hole="The lanes beside a step that goes on at once wait for it, and for all that follows it.",
        taken_away="what others wait for is sent before the next body",
        edits=(
            Edit(
                "sagas/engine/recording.py::Recording::_go_on",
                "if head not in (carried, here):",
                "if here is None and head != carried:",
            ),
        ),
        tests=(f"{TESTS}test_c7_the_heads_beside_it_are_sent_before_the_body_of_the_one_that_follows_at_once",),
    ),
    Reversal(
        letter="C8",
        hole="A message that goes on as long as its saga is acknowledged late, and others wait behind it.",
        taken_away="a further step begins within a time that is set",
        edits=(
            Edit(
                f"{LOOP}::Continuation::_may_go_on",
                "self._bounds.steps and time.monotonic() - self._began < self._bounds.seconds",
                "self._bounds.steps",
            ),
        ),
        tests=(f"{TESTS}test_c8_no_further_step_begins_when_the_message_has_run_for_so_long",),
    ),
    Reversal(
        letter="C9",
        hole="A stop that names a branch by its delivery strikes the step that follows under the same one.",
        taken_away="branches that may be told to stop have messages of their own",
        edits=(Edit(f"{LOOP}::Continuation::_fits", "if done.cancels_siblings or step.cancels_siblings or", "if"),),
        tests=(f"{TESTS}test_c9_branches_that_may_be_told_to_stop_have_messages_of_their_own",),
    ),
    Reversal(
        letter="C10",
        hole="A warm shutdown waits for all further steps of a saga instead of for the one that runs.",
        taken_away="the children are told that the worker leaves",
        edits=(
            Edit(
                f"{WORKER}::WorkerLife::_on_shutting_down",
                "self._stays = False\nself._engine.leave.to_go_on = False",
                "pass",
            ),
        ),
        tests=(f"{TESTS}test_c10_a_warm_shutdown_stops_between_two_steps",),
    ),
    Reversal(
        letter="C12",
        hole="A rate limit that an operator sets holds for messages, and what follows under one is not held back.",
        taken_away="the children are told of rate limits that are set while they run",
        edits=(Edit(f"{WORKER}::WorkerLife::_grant_leave", "and self._rate_limited() <= self._first_limited", ""),),
        tests=(f"{TESTS}test_c12_a_rate_limit_that_is_set_while_the_worker_runs_is_kept",),
    ),
    Reversal(
        letter="C13",
        hole="A step that fails under another one's message turns its saga back when the sweep looks, and not at once.",
        taken_away="its request carries the error callback",
        edits=(Edit(f"{LOOP}::Continuation::_request", '"callbacks": None,', '"callbacks": None,\n"errbacks": None,'),),
        tests=(f"{TESTS}test_c13_the_error_callback_turns_it_back_and_not_the_sweep",),
    ),
    Reversal(
        letter="C15",
        hole="What follows is claimed inside the step's own transaction: it is not there, or rolls back with it.",
        taken_away="a step's own transaction commits before anything follows",
        edits=(Edit("sagas/engine/recording.py::Recording::_complete_action", "self._commit()", "pass"),),
        tests=(f"{BETWEEN}test_c15_a_steps_own_transaction_has_committed_before_the_next_one_is_claimed",),
    ),
)
