"""C3, C9, C10: who is alive, and what a crash of the database takes with it."""

from tests.holes.reversal import Edit, Reversal

MODEL = "tests/unit/model/"
CRASHES = "tests/integration/store/test_crashes.py::"
DEATHS = "tests/integration/store/test_deaths.py::"
FAULTS = "tests/faults/"

CRITICAL_LIVENESS = (
    Reversal(
        letter="C3",
        hole="The end of a step cannot be recorded and its process lives on for days. Judged by its process the "
        "step has a holder that is alive, and nobody ever takes it.",
        taken_away="a claim that a later heartbeat does not list is dead, though its process lives",
        edits=(
            Edit(
                "sagas/store/loop_statements.py::HOLDER",
                "OR (step.claimed_at < worker.listed_at AND NOT (step.delivery = ANY (worker.deliveries)))",
                "",
            ),
        ),
        tests=(
            f"{DEATHS}test_h3_a_claim_that_a_later_heartbeat_does_not_list_is_dead_and_due_at_once",
            f"{FAULTS}test_unrecorded_ends.py::test_c3_a_step_whose_end_could_not_be_recorded_runs_again_though_its_process_lives[completion]",
        ),
    ),
    Reversal(
        letter="C3",
        hole="A thread that hangs for ever is listed in every heartbeat, and no pool but prefork can end it.",
        taken_away="the sweep takes a step away when its time is over, whatever its process does",
        edits=(Edit("sagas/model/examining.py::examine", "elif draft.now >= draft.end_of(step):", "elif False:"),),
        tests=(
            f"{DEATHS}test_a_claim_by_no_worker_is_alive_until_its_time_is_over",
            f"{MODEL}test_examine.py::test_a_step_is_taken_from_a_live_holder_when_its_time_is_over",
            f"{MODEL}test_settle.py::test_c7_what_is_awaited_and_dies_is_undone_first[timeout]",
        ),
    ),
    Reversal(
        letter="C9",
        hole="The kernel kills one backend of PostgreSQL: claims that were not synced are gone, and a step that "
        "runs reads as never claimed. A cancel finds nothing to undo.",
        taken_away="what is unclaimed under another epoch may have been claimed",
        edits=(
            Edit(
                "sagas/store/loop_statements.py::_EXECUTIONS",
                "step.status = 'pending' AND step.epoch",
                "false AND step.epoch",
            ),
        ),
        tests=(
            f"{CRASHES}test_c9_a_cancel_after_a_crash_undoes_the_step_that_was_perhaps_claimed",
            f"{CRASHES}test_c9_the_claims_that_the_kill_of_one_backend_loses_are_in_doubt",
        ),
    ),
    Reversal(
        letter="C9",
        hole="After such a crash the start of the postmaster is the same, and so is any row that is logged: "
        "nothing tells that claims were lost.",
        taken_away="the epoch is a row that exactly such a crash empties",
        edits=(
            Edit(
                "sagas/store/migrations/0001_initial.sql::saga_epoch",
                "CREATE UNLOGGED TABLE {schema}.saga_epoch",
                "CREATE TABLE {schema}.saga_epoch",
            ),
        ),
        tests=(f"{CRASHES}test_c9_the_claims_that_the_kill_of_one_backend_loses_are_in_doubt",),
    ),
    Reversal(
        letter="C9",
        hole="The next claim after the crash knows nothing of the lost one: a clean no of it is believed, or a "
        "step that must not run twice does.",
        taken_away="a claim under another epoch begins in doubt",
        edits=(
            Edit(
                "sagas/store/statements.py::TAKE",
                "doubt = doubt OR (round = 0 AND ",
                "doubt = doubt OR (false AND ",
            ),
        ),
        tests=(
            f"{CRASHES}test_c9_the_claim_itself_tells_that_an_earlier_one_may_be_lost",
            "tests/integration/store/test_agreement.py::test_c9_a_claim_under_another_epoch_is_in_doubt_by_sql_as_by_decide",
        ),
    ),
    Reversal(
        letter="C9",
        hole="Every step that was sent is in doubt after a crash: one that must not run twice and only waited is given "
        "up.",
        taken_away="the claim of a step that must not run twice waits for the disk",
        edits=(
            Edit(
                "sagas/store/statements.py::TAKEN::unsynced",
                "CASE WHEN synced_claim IS NOT TRUE THEN",
                "CASE WHEN true THEN",
            ),
        ),
        tests=(
            f"{CRASHES}test_c9_the_claim_of_a_step_that_is_not_idempotent_survives_the_kill_of_a_backend",
            "tests/integration/store/test_cost.py::test_the_claim_of_a_step_that_must_not_run_twice_syncs_once",
        ),
    ),
    Reversal(
        letter="C9",
        hole="In a rolling deploy a worker of a former release claims such a step without waiting for the disk.",
        taken_away="a worker whose release syncs no claims leaves the doubt",
        edits=(
            Edit(
                "sagas/store/statements.py::UNLESS_SYNCED",
                "AND NOT EXISTS (SELECT FROM {s}.saga_worker WHERE NOT syncs_claims)",
                "",
            ),
        ),
        tests=(
            f"{CRASHES}test_c9_a_step_that_is_not_idempotent_is_not_run_again_if_a_crash_may_have_lost_its_claim"
            "[a worker]",
        ),
    ),
    Reversal(
        letter="C9",
        hole="A dispatch after the crash stamps the new epoch, and with the old one the doubt is forgotten.",
        taken_away="a dispatch keeps the doubt of the one before",
        edits=(
            Edit(
                "sagas/model/executions.py::Executions::dispatch",
                "doubt=step.doubt or (step.evidence.epoch_changed and step.address.is_action)",
                "doubt=step.doubt",
            ),
        ),
        tests=(
            f"{CRASHES}test_c9_a_dispatch_after_the_crash_keeps_the_doubt_of_the_one_before",
            f"{MODEL}test_decide.py::test_c9_doubt_about_a_lost_claim_outlives_the_next_dispatch",
        ),
    ),
    Reversal(
        letter="C9",
        hole="A step that is not idempotent and may have been claimed before the crash is sent again.",
        taken_away="what must not run twice is given up in doubt",
        edits=(
            Edit(
                "sagas/model/examining.py::dispatch_unsent", "if may_have_run and not draft", "if False and not draft"
            ),
        ),
        tests=(
            f"{CRASHES}test_c9_a_step_that_is_not_idempotent_is_not_run_again_if_a_crash_may_have_lost_its_claim",
            f"{MODEL}test_decide.py::test_c9_a_step_that_is_not_idempotent_is_not_sent_again_after_a_crash",
        ),
    ),
    Reversal(
        letter="C10",
        hole="The database was away for a minute: every heartbeat is stale, and the first sweep takes every "
        "running step away from healthy workers.",
        taken_away="death has two stages, a lease apart",
        edits=(
            Edit(
                "sagas/store/sweep_statements.py::DECLARE_DEAD_WORKERS",
                "AND suspected_at < clock_timestamp() - CAST(:lease AS interval)",
                "",
            ),
        ),
        tests=(
            f"{DEATHS}test_c10_a_silent_worker_is_suspected_by_one_sweep_and_dead_a_lease_later_in_another",
            f"{DEATHS}test_c10_after_an_outage_everybody_is_silent_and_nobody_dead",
            f"{DEATHS}test_c10_who_stays_silent_after_the_outage_is_dead_a_lease_later",
        ),
    ),
    Reversal(
        letter="C10",
        hole="A worker was suspected just before the outage: at its end the suspicion is older than a lease.",
        taken_away="after an outage suspicion begins anew",
        edits=(
            Edit(
                "sagas/store/sweep_statements.py::LOOK_AROUND::suspected",
                "AND (suspected_at IS NULL OR (SELECT after_outage FROM swept))",
                "AND suspected_at IS NULL",
            ),
        ),
        tests=(f"{DEATHS}test_c10_after_an_outage_everybody_is_silent_and_nobody_dead[True]",),
    ),
    Reversal(
        letter="C10",
        hole="A worker that was silent for a moment is declared dead later, though its heartbeat has come back.",
        taken_away="a heartbeat clears the suspicion",
        edits=(Edit("sagas/store/sweep_statements.py::HEARTBEAT", "suspected_at = NULL,", ""),),
        tests=(f"{DEATHS}test_c10_a_heartbeat_clears_the_suspicion",),
    ),
    Reversal(
        letter="C10",
        hole="A fresh child of the pool claims a moment before the next heartbeat; the last one does not list it: "
        "it is dead before it has begun.",
        taken_away="only a heartbeat that was written after a claim proves anything about it",
        edits=(
            Edit("sagas/store/loop_statements.py::HOLDER", "(step.claimed_at < worker.listed_at AND NOT (", "(NOT ("),
        ),
        tests=(f"{DEATHS}test_c10_a_claim_made_after_the_list_of_a_heartbeat_is_not_dead_by_it",),
    ),
    Reversal(
        letter="C10",
        hole="A worker that was declared dead gets its row back with the next heartbeat: others have taken over "
        "its steps, and it never stops them.",
        taken_away="death is final",
        edits=(
            Edit(
                "sagas/store/sweep_statements.py::HEARTBEAT",
                "WHERE worker.dead_at IS NULL\nRETURNING to_stop",
                "RETURNING to_stop",
            ),
        ),
        tests=(f"{DEATHS}test_c10_a_silent_worker_is_suspected_by_one_sweep_and_dead_a_lease_later_in_another",),
    ),
    Reversal(
        letter="C10",
        hole="Two containers whose workers have one name share a row, and delist each other's steps.",
        taken_away="a worker is a uuid made at each boot; now all are one",
        edits=(Edit("sagas/engine/liveness.py::WorkerIdentity::renew", "new = uuid4()", "new = UUID(int=1)"),),
        tests=(f"{FAULTS}test_zombies.py::test_c10_two_workers_with_one_name_do_not_delist_each_others_steps",),
    ),
)
