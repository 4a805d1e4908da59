"""What is given up, comes too early, or does not come: dead letters, early events and quiet runs of choreographies."""

from tests.holes.reversal import Edit, Reversal

MODEL = "tests/unit/model/choreography/"
STORE = "tests/integration/store/test_runs.py::"
EARLY = "tests/integration/store/test_early_and_late.py::"
RULES = "sagas/model/choreography/"
AFTER = f"{MODEL}test_after_the_end.py::"

OF_LETTERS = (
    Reversal(
        letter="V12",
        hole="A delivery in doubt gets another payload and with it another key, and happens twice.",
        taken_away="an edit of what is in doubt needs a person's word",
        edits=(
            Edit(
                f"{RULES}letters.py::replay",
                "event.edit is not None and row.doubt and not event.edit.vouched",
                "event.reason is None",
            ),
        ),
        tests=(f"{MODEL}test_run.py::test_v12_an_edit_of_what_is_in_doubt_needs_a_persons_word",),
    ),
    Reversal(
        letter="V16",
        hole="An event that comes before its run is deleted by the sweep, since it is mail for nothing.",
        taken_away="early events are kept",
        edits=(
            Edit(
                "sagas/store/neighbour_statements.py::FORGET_INBOX",
                "WHERE instance_id = :id AND kind <> 'event' AND consumed_at IS NULL",
                "WHERE instance_id = :id AND consumed_at IS NULL",
            ),
            Edit(
                "sagas/store/purge_statements.py::LOOK_AT_MEMBERS",
                "numbered IS NOT NULL AND NOT starts_with",
                "numbered IS NULL AND starts_with",
            ),
            Edit("sagas/store/letter_statements.py::BURY_EARLY", "kind = 'event' AND", "kind = 'early' AND"),
        ),
        tests=(
            f"{STORE}test_v16_an_event_before_its_run_is_kept_and_numbered_after_the_first",
            f"{EARLY}test_v16_an_event_whose_run_does_not_come_is_a_letter_after_its_time_and_never_dropped",
            f"{EARLY}test_v16_a_purged_key_leaves_a_tombstone_that_tells_what_comes_late[False]",
        ),
    ),
    Reversal(
        letter="V16",
        hole="A process starts a run and dies, and what came before the start waits for an hour; or the sweep makes a "
        "letter of it while the run numbers it.",
        taken_away="early events are unseen again once their run is there",
        edits=(
            Edit(
                "sagas/store/run_statements.py::START_RUN",
                "WHERE CAST(:run_key AS text) IS NOT NULL AND mail.instance_id = born.id",
                "WHERE false",
            ),
        ),
        tests=(
            f"{EARLY}test_v16_the_sweep_finds_an_early_event_whose_start_died_before_it_looked",
            f"{EARLY}test_v16_a_run_that_starts_while_its_early_event_becomes_a_letter_has_no_number_without_an_event",
        ),
    ),
    Reversal(
        letter="V17",
        hole="A run is purged with a letter that later events have passed, and no person has ever seen it.",
        taken_away="a run with a letter that no person has answered stays",
        edits=(Edit("sagas/store/purge_statements.py::HAS_LETTERS", "dead_at IS NOT NULL", "dead_at = 'infinity'"),),
        tests=(f"{EARLY}test_v17_a_run_with_a_letter_that_no_person_has_answered_is_not_purged",),
    ),
    Reversal(
        letter="V17",
        hole="A purge has looked at a run, and deletes with it what comes for it a moment later.",
        taken_away="an event without a number outlives its run, and letters are looked for once the run is locked",
        edits=(
            Edit("sagas/store/purge_statements.py::PURGE", "AND (kind <> 'event' OR consumed_at IS NOT NULL)", ""),
            Edit("sagas/store/purge_statements.py::LOOK_AT_MEMBERS", "old.numbered IS NOT NULL AND", "false AND"),
        ),
        tests=(
            f"{EARLY}test_v17_an_event_that_is_committed_while_its_run_is_purged_is_kept[None]",
            f"{EARLY}test_v17_an_event_that_is_committed_while_its_run_is_purged_is_kept[order-42]",
            f"{EARLY}test_v17_a_letter_that_comes_before_the_lock_of_a_purge_is_seen_by_it",
        ),
    ),
    Reversal(
        letter="V18",
        hole="What a person has delivered after the end opens its run again, or is given up and makes it failed.",
        taken_away="what came late counts for nothing in its run",
        edits=(
            Edit(
                f"{RULES}settle.py::status_of",
                "own = [row for row in draft.steps.values() if not draft.is_late(row)]",
                "own = [*draft.steps.values()]",
            ),
        ),
        tests=(
            f"{AFTER}test_v18_a_late_event_is_delivered_to_the_handler_that_a_person_names_and_its_run_stays_as_it_was",
            f"{AFTER}test_v18_a_late_delivery_that_is_given_up_is_a_letter_again_and_its_run_stays_as_it_was",
        ),
    ),
    Reversal(
        letter="V18",
        hole="No sweep looks at what has ended, and a late delivery that is to be tried again never is.",
        taken_away="a run that has ended is due while something that came late is open",
        edits=(
            Edit(
                f"{RULES}draft.py::RunDraft::next_look",
                "# only what came late can be open\nreturn min(looks, default=None)",
                "return None",
            ),
        ),
        tests=(
            "tests/integration/store/test_after_the_end.py::"
            "test_v18_the_sweep_tries_a_late_delivery_again_and_finds_the_one_of_a_dead_worker",
        ),
    ),
    Reversal(
        letter="V18",
        hole="One person skips a late event while another has it delivered, and each waits for the other's lock.",
        taken_away="both take the lock of the run first",
        edits=(
            Edit(
                "sagas/store/letters.py::Letters::acknowledge",
                'connection.execute(self._sql(LOCK_INSTANCE), {"id": run})',
                "",
            ),
        ),
        tests=(
            "tests/integration/store/test_after_the_end.py::"
            "test_v18_one_person_skips_a_late_event_while_another_has_it_delivered",
        ),
    ),
    Reversal(
        letter="V20",
        hole="A run in which nothing is open and no end comes is in no list, or is announced at every look.",
        taken_away="silence is announced once, and what is awaited may take its time",
        edits=(
            Edit(f"{RULES}quiet.py::watch_for_silence", "draft.quiet_at is None and", ""),
            Edit(f"{RULES}quiet.py::silence_allowed", "*awaited(draft).values(), 0.0", "0.0"),
            Edit(f"{RULES}quiet.py::kept_moment", "draft.count > before.numbered or", "True or"),
        ),
        tests=(
            f"{MODEL}test_quiet.py::"
            "test_v20_a_run_in_which_nothing_is_open_and_no_end_has_come_is_quiet_and_announced_once",
            f"{MODEL}test_quiet.py::test_v20_what_is_awaited_may_take_as_long_as_it_says_until_it_has_come",
            f"{MODEL}test_quiet.py::test_v20_what_comes_by_a_bridge_may_take_a_day_without_being_named",
            f"{MODEL}test_quiet.py::test_v20_an_outage_is_not_silence",
        ),
    ),
    Reversal(
        letter="V26",
        hole="Ten thousand deliveries of a handler that only fails die in a minute, with as many alerts.",
        taken_away="alerts come once a minute, and a handler that only fails is paused",
        edits=(
            Edit(
                "sagas/store/handler_statements.py::RAISE_ALARM",
                "SET more = known.told_at > clock_timestamp() - CAST(:pause AS interval),",
                "SET more = false,",
            ),
            Edit("sagas/store/handler_statements.py::NOTE_DEATH", "known.dead_in_row + 1,", "1,"),
            Edit(f"{RULES}decide.py::put_off", "attempts = row.attempts - 1", "attempts = row.attempts"),
        ),
        tests=(
            "tests/integration/store/test_handlers.py::"
            "test_v26_letters_of_one_kind_are_told_at_once_and_then_once_a_minute_with_their_number",
            "tests/integration/store/test_handlers.py::"
            "test_v26_a_handler_that_only_fails_is_paused_and_one_success_begins_the_count_anew",
            f"{MODEL}test_run.py::test_v26_a_delivery_that_is_put_off_is_not_counted_and_waits",
        ),
    ),
    Reversal(
        letter="V26",
        hole="A person lets a handler go on, and some of its deliveries wait for an hour all the same.",
        taken_away="what is put off at that moment looks again, and runs that are locked are waited for",
        edits=(
            Edit(
                "sagas/engine/pausing.py::is_put_off",
                "handlers.hurry_if_resumed(claim.saga, claimed.step.name)",
                "pass",
            ),
            Edit("sagas/store/handlers.py::Handlers::_hurry", "not self._hurry_one(named)", "True"),
        ),
        tests=(
            "tests/integration/test_paused_handlers.py::"
            "test_v26_what_is_put_off_while_a_person_lets_its_handler_go_on_does_not_wait",
            "tests/integration/store/test_handlers.py::"
            "test_v26_what_waits_in_a_run_that_is_locked_just_now_goes_on_too",
        ),
    ),
)
