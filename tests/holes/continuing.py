"""C1 to C17: steps that follow one another under one message."""

from tests.holes.reversal import Edit, Reversal

TESTS = "tests/integration/test_continuation.py::"
LOOP = "sagas/engine/continuing.py"
WORKER = "sagas/recovery/worker.py"

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
)
