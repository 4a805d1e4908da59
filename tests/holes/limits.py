"""Limits that are a task's own, self.retry, and executions that their worker ends."""

from tests.holes.reversal import Edit, Reversal

MODEL = "tests/unit/model/test_asking_again.py::"
RETRY = "tests/integration/test_self_retry.py::"
ENDED = "tests/integration/test_ended_by_the_worker.py::"
OWN = "tests/integration/test_own_limits.py::"
LIMITS = "tests/unit/model/test_limits.py::"

OF_LIMITS = (
    Reversal(
        letter="D11",
        hole="An hour that was said has to be told from one that was not. Told in what the fingerprint is made of, "
        "sagas that say it cannot be started after the upgrade under their old version.",
        taken_away="the mark of an hour that was said is outside of the fingerprint",
        edits=(
            Edit(
                "sagas/model/plan.py::Plan::fingerprint",
                "sha256(self.unmarked().text.encode())",
                "sha256(self.text.encode())",
            ),
        ),
        tests=(f"{LIMITS}test_d11_an_hour_that_was_said_has_the_fingerprint_that_it_always_had",),
    ),
    Reversal(
        letter="D18",
        hole="A step whose own asyncio.run is cancelled raises a CancelledError, which ends its process and counts "
        "as a loss: an action that was to be tried once runs four times.",
        taken_away="only SystemExit, KeyboardInterrupt and GreenletExit are interruptions",
        edits=(
            Edit(
                "sagas/engine/judging.py::is_interruption",
                'isinstance(error, SystemExit | KeyboardInterrupt) or type(error).__name__ == "GreenletExit"',
                "not isinstance(error, Exception)",
            ),
        ),
        tests=("tests/unit/engine/test_judging.py::test_d18_any_other_base_exception_is_the_bodys_own_failure",),
    ),
    Reversal(
        letter="D19",
        hole="self.retry publishes a message of Celery's own beside the saga's: two race, waits are cut short, and "
        "Celery's counter undoes the saga.",
        taken_away="self.retry is answered before anything is published",
        edits=(
            Edit(
                "sagas/engine/task.py::FencedTask::retry",
                "request = self._step_request()\nif request is None:",
                "request = self._step_request()\nif True:",
            ),
        ),
        tests=(
            f"{RETRY}test_d19_a_poll_is_one_message_at_a_time_and_uses_up_no_attempt",
            f"{RETRY}test_d19_what_a_step_asks_for_is_answered_by_its_policy",
        ),
    ),
    Reversal(
        letter="D19",
        hole="A task that polls is given up after the attempts of its policy, though nothing has failed.",
        taken_away="polls use up no attempt",
        edits=(Edit("sagas/model/state.py::StepState::failures", "self.losses - self.polls", "self.losses"),),
        tests=(f"{MODEL}test_d19_a_poll_uses_no_attempt_and_writes_a_counter",),
    ),
    Reversal(
        letter="D20",
        hole="A hang that only the hard limit ends looks like any process that dies: a loss, which runs four times "
        "where one attempt was allowed.",
        taken_away="the parent reports the executions that it ends",
        edits=(
            Edit(
                "sagas/recovery/ending.py::_watched::WatchedRequest::on_timeout",
                "if not soft and not worker_state.should_terminate:",
                "if soft is None and not worker_state.should_terminate:",
            ),
        ),
        tests=(f"{ENDED}test_d20_a_hang_that_only_the_hard_limit_ends_is_the_attempt_that_timed_out",),
    ),
    Reversal(
        letter="D36",
        hole="A task with a hard limit alone is killed without a word: its body never hears that its time is over.",
        taken_away="a hard limit alone is announced by a soft one",
        edits=(
            Edit(
                "sagas/model/limits.py::own_limits",
                "soft = hard - min(max(hard / 10, SHORTEST_WARNING), LONGEST_WARNING, hard / 2)",
                "soft = hard",
            ),
        ),
        tests=(f"{LIMITS}test_d36_a_tasks_own_limits_hold_and_a_hard_one_alone_is_announced_to_the_body",),
    ),
)
