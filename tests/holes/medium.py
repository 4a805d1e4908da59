"""M1 to M14: what costs too much, and what happens rarely."""

from tests.holes.reversal import Edit, Reversal

BLOAT = "tests/integration/store/test_bloat.py::"
MODEL = "tests/unit/model/"
LIMITS = "tests/integration/test_late_limits.py::"
RETENTION = "tests/integration/test_retention.py::"
REFUSALS = "tests/unit/definition/test_shape_refusals.py::"

MEDIUM = (
    Reversal(
        letter="M1",
        hole="`due_at` is indexed: written with every completion, it has all indexes of the widest row rewritten.",
        taken_away="a completion leaves `due_at` alone; now it moves it, as a lease would",
        edits=(
            Edit(
                "sagas/store/statements.py::COMPLETE::moved",
                "ELSE moving.due_at END,\nfinished_at",
                "ELSE clock_timestamp() + interval '4 seconds' END,\nfinished_at",
            ),
        ),
        tests=(f"{BLOAT}test_m1_a_completion_within_half_a_lease_touches_no_index_of_the_instance",),
    ),
    Reversal(
        letter="M1",
        hole="The statement that runs most often writes an indexed column.",
        taken_away="a claim touches nothing that is indexed; now it moves `due_at`, as a lease would",
        edits=(
            Edit(
                "sagas/store/statements.py::TAKEN::progress",
                "progress AS (\n    INSERT INTO {s}.saga_queue AS seen",
                "leased AS (\n"
                "    UPDATE {s}.saga_instance AS leased SET due_at = clock_timestamp() + interval '4 seconds'\n"
                "    FROM claimed WHERE leased.id = claimed.instance_id\n"
                "),\n"
                "progress AS (\n"
                "    INSERT INTO {s}.saga_queue AS seen",
            ),
        ),
        tests=(f"{BLOAT}test_m1_a_claim_touches_no_index_and_leaves_the_instances_row_alone",),
    ),
    Reversal(
        letter="M2",
        hole="Fifty branches copy the data of their instance fifty times, under its lock.",
        taken_away="a completion writes its step's row and a counter; now it merges the result into the data",
        edits=(
            Edit(
                "sagas/store/statements.py::COMPLETE::moved",
                "updated_at = clock_timestamp()\nFROM done",
                "updated_at = clock_timestamp(), data = moving.data || coalesce(%(result)s::jsonb, '{}')\nFROM done",
            ),
        ),
        tests=(f"{BLOAT}test_m2_the_completions_of_fifty_branches_do_not_copy_the_data",),
    ),
    Reversal(
        letter="M3",
        hole="`pending` to `running` with the claim is a write of the instance, and a lock that the claim must not "
        "need.",
        taken_away="the first completion moves the status, no claim does; now each of them",
        edits=(
            Edit(
                "sagas/store/statements.py::TAKEN::progress",
                "progress AS (\n    INSERT INTO {s}.saga_queue AS seen",
                "begun AS (\n"
                "    UPDATE {s}.saga_instance AS begun SET status = 'running'\n"
                "    FROM claimed\n"
                "    WHERE begun.id = claimed.instance_id AND begun.status IN ('pending', 'running')\n"
                "),\n"
                "progress AS (\n"
                "    INSERT INTO {s}.saga_queue AS seen",
            ),
        ),
        tests=(
            f"{BLOAT}test_m3_no_claim_writes_the_row_of_its_instance",
            f"{BLOAT}test_m3_a_claim_does_not_wait_for_who_has_the_instance",
        ),
    ),
    Reversal(
        letter="M4",
        hole="The semantic lock of a failed instance goes to the next one, while a person still has to resolve it.",
        taken_away="a failed instance keeps its locks",
        edits=(
            Edit(
                "sagas/store/neighbour_statements.py::MARK_ENDED",
                "OR (:status = 'failed' AND NOT lasting) OR",
                "OR :status = 'failed' OR",
            ),
        ),
        tests=(
            "tests/integration/test_locks_lost_and_kept.py::test_m4_of_a_failed_saga_the_sweep_releases_the_slot_alone",
            "tests/integration/test_locks.py::test_m4_a_failed_saga_keeps_it_until_a_person_has_resolved_it",
        ),
    ),
    Reversal(
        letter="M5",
        hole="A wait without an end is due never and not final: nobody finds it when its signal does not come.",
        taken_away="a wait has a timeout",
        edits=(
            Edit(
                "sagas/definition/waiting.py::WaitFor::__init__",
                "timeout: timedelta | float,\non_timeout",
                "timeout: timedelta | float | None = None,\non_timeout",
            ),
            Edit(
                "sagas/definition/waiting.py::WaitFor::__init__",
                "self.seconds = number(timeout, f",
                "self.seconds = None if timeout is None else number(timeout, f",
            ),
        ),
        tests=(f"{REFUSALS}test_m5_a_wait_without_a_timeout_is_refused",),
    ),
    Reversal(
        letter="M5",
        hole="The same in the rules: what waits has no moment at which somebody looks at it.",
        taken_away="what waits is due when its time is over",
        edits=(
            Edit(
                "sagas/model/draft.py::InstanceDraft::begin",
                "self.put(step, not_before=wakes_at, first_claimed_at=self.now)",
                "self.put(step, first_claimed_at=self.now)",
            ),
        ),
        tests=(f"{MODEL}test_waiting.py::test_m5_what_waits_is_always_due",),
    ),
    Reversal(
        letter="M6",
        hole="The soft time limit strikes in the library's own completion, after the body: the step is judged as "
        "timed out and run again, or undone.",
        taken_away="a limit that strikes there is followed by a look at the own token",
        edits=(
            Edit(
                "sagas/engine/execution.py::_run",
                "step's transaction, which may be over by now.\nreturn recording.record(happened)",
                "step's transaction, which may be over by now.\nraise",
            ),
        ),
        tests=(f"{LIMITS}test_m6_a_limit_that_strikes_around_the_completion_looks_at_its_own_token_first",),
    ),
    Reversal(
        letter="M6",
        hole="The soft time limit strikes while the failure of a step whose transaction was rolled back waits for the "
        "database: the second look records it as done, and its effect is lost.",
        taken_away="a transaction that is over and was not committed is no completion",
        edits=(
            Edit(
                "sagas/engine/transaction.py::StepTransaction::is_rolled_back",
                "return self.was_used and not self.is_open and not self.is_committed",
                "return False",
            ),
        ),
        tests=(
            f"{LIMITS}test_m6_h12_a_limit_that_strikes_when_the_steps_transaction_was_rolled_back_does_not_record_it_as_done",
        ),
    ),
    Reversal(
        letter="M7",
        hole="A limit strikes between the commit of a completion and the return: the failure that follows undoes "
        "what is completed.",
        taken_away="a failure counts only for what is running",
        edits=(
            Edit(
                "sagas/model/reports.py::take_failure",
                "if step is None or step.token != event.token or step.status is not ExecutionStatus.RUNNING:\n"
                "    draft.accepted = False\n"
                "    if step is not None:",
                "if step is None or step.token != event.token:\n    draft.accepted = False\n    if step is not None:",
            ),
        ),
        tests=(
            f"{MODEL}test_decide.py::test_m7_a_failure_after_the_completion_changes_nothing",
            f"{MODEL}test_decide.py::test_m7_nor_does_it_when_the_saga_has_turned_back_since",
        ),
    ),
    Reversal(
        letter="M8",
        hole="Two releases start one version with different steps, and nobody says a word.",
        taken_away="a changed plan under an old version is refused at `start`",
        edits=(
            Edit(
                "sagas/store/statements.py::REGISTER_PLAN",
                "WHERE known.plan_hash = excluded.plan_hash OR NOT EXISTS (",
                "WHERE true OR NOT EXISTS (",
            ),
        ),
        tests=(
            "tests/integration/test_start.py::test_m8_other_steps_under_the_same_version_are_refused_with_the_count_in_flight",
            "tests/integration/test_start.py::test_m8_workers_go_on_with_the_plan_that_an_instance_started_with",
        ),
    ),
    Reversal(
        letter="M8",
        hole="After a deploy, or a rollback of one, workers refuse instances of another plan: the fleet stands still.",
        taken_away="workers go on by an instance's own plan; now they take the newest that they know",
        edits=(
            Edit(
                "sagas/store/instances.py::Instances::plan",
                "return known",
                "others = [other for other in self._plans.values() if other.saga == known.saga]\n"
                "return max(others, key=lambda other: other.version)",
            ),
        ),
        tests=("tests/integration/test_start.py::test_m8_workers_go_on_with_the_plan_that_an_instance_started_with",),
    ),
    Reversal(
        letter="M9",
        hole="What is deleted after its retention frees its business key: the same order, asked again, runs again.",
        taken_away="a purge that is told so leaves the row of what has a key",
        edits=(
            Edit(
                "sagas/store/purging.py::Purging::_delete",
                "keep = [member.id for member in going if member.keeps_key]",
                "keep: list[UUID] = []",
            ),
        ),
        tests=(f"{RETENTION}test_m9_with_its_tombstone_a_purged_key_does_not_run_again",),
    ),
    Reversal(
        letter="M10",
        hole="A message of an older release runs with its old limits, which are not those of the instance's plan.",
        taken_away="the plan says how long a step may take; now its message does",
        edits=(
            Edit(
                "sagas/engine/running.py::Run::_known",
                "deadline_of(claim, step, delivery.address)",
                'claim.claimed_at + __import__("datetime").timedelta(seconds=delivery.request.timelimit[1])',
            ),
        ),
        tests=(f"{LIMITS}test_m10_a_message_from_another_queue_with_other_limits_does_what_the_plan_says",),
    ),
    Reversal(
        letter="M11",
        hole="`after_commit` fires for savepoints, too: the message comes before the commit, finds no row, and is "
        "dropped.",
        taken_away="a message is sent after the outermost commit",
        edits=(
            Edit(
                "sagas/engine/after_commit.py::_session_committed",
                "if not session.in_nested_transaction():\n    waiting =",
                "if True:\n    waiting =",
            ),
        ),
        tests=(
            "tests/integration/test_start_in_transactions.py::test_m11_a_released_savepoint_sends_nothing_before_the_outer_commit",
        ),
    ),
    Reversal(
        letter="M12",
        hole="The database is away for longer than the deadlines of all that runs: at its return everything is undone.",
        taken_away="a deadline does not run in an outage",
        edits=(Edit("sagas/model/state.py::pardoned", "deadline += ended - outage.began", "pass"),),
        tests=(
            f"{MODEL}test_outages.py::test_m12_the_first_look_after_an_outage_turns_nobody_back",
            f"{MODEL}test_outages.py::test_m12_who_ends_in_that_time_has_ended",
        ),
    ),
    Reversal(
        letter="M13",
        hole="Behind a pooler every transaction has another session: a setting that outlives its transaction "
        "strikes somebody else.",
        taken_away="settings end with their transaction",
        edits=(
            Edit(
                "sagas/store/statements.py::TAKEN::unsynced",
                "set_config('synchronous_commit', 'off', true)",
                "set_config('synchronous_commit', 'off', false)",
            ),
        ),
        tests=("tests/unit/store/test_poolers.py::test_m13_no_statement_leaves_anything_in_its_session",),
    ),
    Reversal(
        letter="M14",
        hole="A standby that replicates asynchronously is promoted without the last commits: what was durable is "
        "gone, and no library can know it.",
        taken_away="the guarantees name synchronous replication",
        edits=(
            Edit(
                "README.md::Guarantees",
                "With asynchronous replication a failover may lose durable rows: use synchronous.",
                "",
            ),
        ),
        tests=("tests/architecture/test_readme.py::test_m14_the_guarantees_say_what_a_failover_may_take",),
    ),
)
