"""V1 to V33: choreographed runs, as far as they are built."""

from tests.holes.reversal import Edit, Reversal

MODEL = "tests/unit/model/choreography/"
STORE = "tests/integration/store/test_runs.py::"
RULES = "sagas/model/choreography/"
DEPLOY = "tests/integration/test_choreographies_in_a_deploy.py::"
OWN = "tests/integration/test_handlers_transactions.py::"
LOCKED = "tests/integration/test_locked_runs.py::"

OF_CHOREOGRAPHY = (
    Reversal(
        letter="V1",
        hole="A number that is taken when an event is published, or when its transaction commits, leaves gaps, blocks "
        "others, or deadlocks in the commit.",
        taken_away="events are numbered by the first look, in the order of their insertion",
        edits=(
            Edit(
                f"{RULES}numbering.py::number_arrived", "key=lambda event: event.row)", "key=lambda event: -event.row)"
            ),
        ),
        tests=(f"{MODEL}test_run.py::test_v1_events_are_numbered_in_the_order_of_their_insertion_a_hundred_at_a_look",),
    ),
    Reversal(
        letter="V2",
        hole="A publisher that holds the lock of a run stops all of its completions for as long as its transaction is "
        "open, and two that publish to two runs crosswise kill each other.",
        taken_away="publishing locks no run",
        edits=(
            Edit(
                "sagas/store/run_statements.py::PUBLISH",
                "INSERT INTO {s}.saga_inbox",
                "WITH locked AS MATERIALIZED (SELECT id FROM {s}.saga_instance WHERE id = :run_id FOR "
                "UPDATE), counted AS MATERIALIZED (SELECT count(*) AS n FROM locked)\nINSERT INTO {s}.saga_inbox",
            ),
            Edit(
                "sagas/store/run_statements.py::PUBLISH",
                "WHERE NOT EXISTS (SELECT FROM {s}.saga_instance WHERE id = :run_id AND numbered IS NULL)",
                "FROM counted WHERE n >= 0",
            ),
        ),
        tests=(
            f"{STORE}test_v2_two_transactions_that_publish_to_two_runs_crosswise_both_commit",
            f"{STORE}test_v1_publishing_is_one_insert_without_a_number_and_without_the_lock_of_the_run",
        ),
    ),
    Reversal(
        letter="V3",
        hole="A completion and the birth of the next delivery do not see each other, and that is held for ever.",
        taken_away="every decision ends in a release",
        edits=(Edit(f"{RULES}settle.py::settle", "release(draft)", "pass"),),
        tests=(
            f"{MODEL}test_run.py::test_v3_a_held_delivery_is_released_by_whatever_ends_the_one_before",
            f"{STORE}test_v3_a_look_releases_what_was_forgotten",
        ),
    ),
    Reversal(
        letter="V3",
        hole="A delivery was born while the one before it ended, and that end leaves it held.",
        taken_away="the statement that ends a delivery releases the next one of its handler",
        edits=(
            Edit(
                "sagas/store/delivery_statements.py::COMPLETE_DELIVERY",
                "AND held.status = 'held'",
                "AND held.status = 'forgotten'",
            ),
        ),
        tests=(f"{STORE}test_v3_a_delivery_that_ends_releases_the_next_one_of_its_handler_beside_others_that_go_on",),
    ),
    Reversal(
        letter="V3",
        hole="Two deliveries that end at once do not see each other: each leaves the end of its run to the other.",
        taken_away="the end of a delivery takes its run's lock in a statement of its own",
        edits=(
            Edit(
                "sagas/store/deliveries.py::Deliveries::__init__",
                "self._complete = PreparedAfterLock(lock, complete)",
                "self._complete = Prepared(complete)",
            ),
        ),
        tests=(f"{STORE}test_v3_two_deliveries_that_end_at_once_count_one_another",),
    ),
    Reversal(
        letter="V4",
        hole="An action that charged and died is pending again when its undo event comes: unclaimed, so it counts as "
        "one that never happened, and the money is gone.",
        taken_away="what may have run is not voided but given up in doubt",
        edits=(
            Edit(
                "sagas/model/executions.py::Executions::void",
                "if not self.waits(action) and (action.doubt or action.evidence.epoch_changed):",
                "if not self.waits(action) and action.stray:",
            ),
        ),
        tests=(f"{MODEL}test_undoing.py::test_v4_voiding_an_action_that_was_ever_attempted_leaves_doubt_and_an_undo",),
    ),
    Reversal(
        letter="V5",
        hole="An event that undoes one handler voids the deliveries of all others, also of the one that was to tell "
        "the customer.",
        taken_away="an undo event concerns one handler",
        edits=(
            Edit(
                f"{RULES}closing.py::close_handler",
                "        if row.address.branch != handler.place:\n            continue\n",
                "",
            ),
        ),
        tests=(f"{MODEL}test_undoing.py::test_v5_an_undo_event_undoes_its_handler_and_reaches_those_that_hear_it",),
    ),
    Reversal(
        letter="V6",
        hole="An event that undoes a handler comes before what it undoes, and that is done afterwards.",
        taken_away="a closed handler stays closed for the rest of its run",
        edits=(
            Edit(
                f"{RULES}numbering.py::deliver",
                "if handler.name in draft.closed:",
                "if handler.name in draft.before.closed and draft.ended_by is not None:",
            ),
        ),
        tests=(
            f"{MODEL}test_undoing.py::test_v6_e4_an_undo_event_before_its_action_refuses_that_and_all_that_come_later",
        ),
    ),
    Reversal(
        letter="V7",
        hole="An undo waits behind other deliveries of its handler, behind a dead letter until a person comes.",
        taken_away="an undo that an event brings about waits for its own action alone",
        edits=(
            Edit(
                f"{RULES}closing.py::undo_closed",
                "if draft.turned_at is None:",
                "if draft.turned_at is None and not outstanding:",
            ),
        ),
        tests=(f"{MODEL}test_undoing.py::test_v7_an_undo_waits_for_nothing_but_its_own_action",),
    ),
    Reversal(
        letter="V8",
        hole="A handler that was closed while it ran tells others to go on with what is about to be undone.",
        taken_away="a completion that finds its handler closed publishes nothing",
        edits=(
            Edit(
                f"{RULES}decide.py::complete",
                "is_muted = step.address.is_action and draft.is_closed(step)",
                "is_muted = False",
            ),
        ),
        tests=(
            f"{MODEL}test_undoing.py::test_v8_a_completion_whose_handler_is_closed_publishes_nothing_and_is_undone",
            f"{STORE}test_v8_a_muted_event_is_kept_without_a_number",
        ),
    ),
    Reversal(
        letter="V8",
        hole="A step that ran when its saga turned back publishes, and others act on what is about to be undone.",
        taken_away="a completion in a saga that has turned back drops the events of its step",
        edits=(
            Edit(
                "sagas/engine/recording.py::has_turned_back",
                "status in (SagaStatus.COMPENSATING, SagaStatus.COMPENSATED)",
                "False",
            ),
        ),
        tests=(
            "tests/integration/test_publishing_steps.py::"
            "test_v8_a_step_that_completes_when_its_saga_has_turned_back_publishes_nothing",
        ),
    ),
    Reversal(
        letter="V9",
        hole="A web process that has imported one module of five starts runs by its own part of the graph, and four "
        "handlers never hear of them.",
        taken_away="a run starts by the graph that the workers have registered",
        edits=(
            Edit(
                "sagas/store/runs.py::Runs::whole_graph",
                "return known",
                "return None if known is None else plan",
            ),
        ),
        tests=(f"{STORE}test_v9_workers_register_the_whole_graph_and_who_knows_a_part_starts_by_it",),
    ),
    Reversal(
        letter="V10",
        hole="Newer code publishes while older workers still run, and what they cannot read is dead in thousands.",
        taken_away="an event that is newer than the code at hand waits for the newer code",
        edits=(
            Edit(
                "sagas/choreography/upcasting.py::Upcasters::raised",
                'raise EventUnreadable(\n                f"{what} is newer',
                'raise broken(\n                f"{what} is newer',
            ),
        ),
        tests=(
            "tests/unit/choreography/test_upcasting.py::"
            "test_v10_a_version_that_is_newer_than_the_code_waits_for_the_newer_code",
            f"{DEPLOY}test_v10_e5_what_older_code_cannot_read_waits_uncounted_and_goes_on_when_newer_code_begins",
        ),
    ),
    Reversal(
        letter="V10",
        hole="A worker with newer code has begun, and what older ones could not read still waits.",
        taken_away="what no worker could call is tried when one begins",
        edits=(Edit("sagas/recovery/worker.py::WorkerLife::_register", "self._fleet.unpark()", "pass"),),
        tests=(f"{DEPLOY}test_v10_e5_what_older_code_cannot_read_waits_uncounted_and_goes_on_when_newer_code_begins",),
    ),
    Reversal(
        letter="V11",
        hole="A dead newsletter makes its run failed while the payment is under way, and its deadline never fires.",
        taken_away="a run is failed only when nothing moves any more",
        edits=(Edit(f"{RULES}settle.py::status_of", "if is_stuck and not moves:", "if is_stuck:"),),
        tests=(f"{MODEL}test_run.py::test_v11_a_run_is_failed_only_when_nothing_moves_any_more",),
    ),
    Reversal(
        letter="V15",
        hole="A look after a publisher's commit finds the run locked by a completion that cannot see its event.",
        taken_away="a look waits for the lock of its run",
        edits=(
            Edit("sagas/engine/loop.py::Loop::look", "Tick(), patience=0,", "Tick(), skip_locked=True, patience=0,"),
        ),
        tests=(f"{LOCKED}test_v15_the_look_of_a_publisher_waits_for_the_lock_of_the_run",),
    ),
    Reversal(
        letter="V15",
        hole="A process that froze with the lock of a run makes those who publish into that run wait for ever.",
        taken_away="a look waits for a second at most",
        edits=(Edit("sagas/engine/loop.py::Loop::look", "hurried=True", "hurried=False"),),
        tests=(f"{LOCKED}test_v15_whoever_publishes_does_not_wait_for_a_process_that_froze_with_the_lock",),
    ),
    Reversal(
        letter="V18",
        hole="Money that comes for an order that was cancelled is dropped, or opens a run that has ended.",
        taken_away="an event after the end is a letter",
        edits=(
            Edit(
                f"{RULES}numbering.py::why_undelivered",
                "return Letter.LATE if event.cause is None or (is_heard and not runs_out) else None",
                "return Letter.LATE if runs_out and event.cause is None and is_heard else None",
            ),
        ),
        tests=(f"{MODEL}test_undoing.py::test_v18_an_event_after_the_end_is_a_late_letter_and_changes_nothing",),
    ),
    Reversal(
        letter="V19",
        hole="Two events that contradict each other end a run twice, once forward and once backward.",
        taken_away="the first end wins",
        edits=(
            Edit(
                f"{RULES}draft.py::RunDraft::takes_events",
                "return self.ended_by is None and self.turned_at is None and not self.has_ended",
                "return self.turned_at is None and not self.has_ended",
            ),
        ),
        tests=(
            f"{MODEL}test_undoing.py::test_v19_the_first_end_wins",
            f"{MODEL}test_undoing.py::test_v19_actions_that_were_born_before_the_end_run_and_none_is_born_after_it",
        ),
    ),
    Reversal(
        letter="V21",
        hole="A second event with the same key and another content vanishes without a word.",
        taken_away="an event with a key is compared with the one that has it",
        edits=(
            Edit(
                "sagas/store/runs.py::Runs::publish",
                "return False if same else None",
                "return False",
            ),
        ),
        tests=(f"{STORE}test_v21_a_key_is_one_event_of_its_type_and_another_payload_is_told",),
    ),
    Reversal(
        letter="V22",
        hole="What a completion starts has a key for which it waits, and two of them wait for each other.",
        taken_away="the runs that a step starts are inserted in one order",
        edits=(Edit("sagas/engine/outgoing.py::Outbox::_in_one_order", "numbered[1].run_id", "0"),),
        tests=(
            "tests/integration/store/test_outgoing.py::"
            "test_v22_two_steps_that_start_the_same_runs_do_not_wait_for_each_other_crosswise",
        ),
    ),
    Reversal(
        letter="V23",
        hole="What a handler wrote is committed before its completion, and stays when the completion does not count.",
        taken_away="a handler's own transaction ends with its completion",
        edits=(
            Edit(
                "sagas/engine/reacting.py::_ReactionRecording::_complete",
                "if transaction.is_open and not self._address.is_action:",
                "if transaction.is_open:",
            ),
        ),
        tests=(f"{OWN}test_v23_the_lock_of_the_run_comes_last_and_nothing_but_the_completion_follows_it",),
    ),
    Reversal(
        letter="V23",
        hole="In a transaction with one snapshot a completion does not see the delivery that was born meanwhile.",
        taken_away="a handler's own transaction is READ COMMITTED, whatever the default of its database is",
        edits=(
            Edit(
                "sagas/engine/transaction.py::StepTransaction::connection",
                'execution_options(isolation_level="READ COMMITTED")',
                "execution_options()",
            ),
        ),
        tests=(f"{OWN}test_v23_a_handlers_own_transaction_is_read_committed",),
    ),
    Reversal(
        letter="V24",
        hole="A handler has charged and returns something that cannot be published, and charges again for that.",
        taken_away="what is wrong after the body is doubt, and given up at once",
        edits=(
            Edit(
                "sagas/engine/reacting.py::_ReactionRecording::_returned",
                "return self._unusable(error)",
                "raise ConnectionError from error",
            ),
        ),
        tests=(
            "tests/integration/test_choreographies.py::"
            "test_v24_what_a_handler_may_not_return_is_doubt_and_never_runs_again",
        ),
    ),
    Reversal(
        letter="V25",
        hole="A handler tries an event again for an hour, and nothing says why the later events of its run wait.",
        taken_away="a held event says for which one it waits, and how that stands",
        edits=(
            Edit(
                "sagas/handle/holding.py::_state_of",
                "if head.not_before is not None:",
                "if head.not_before is True:",
            ),
        ),
        tests=("tests/unit/handle/test_holding.py::test_v25_a_held_event_says_what_it_waits_for",),
    ),
    Reversal(
        letter="V27",
        hole="Two operators replay one letter, or one replays what another has edited since.",
        taken_away="a letter is answered as it was seen",
        edits=(
            Edit(
                f"{RULES}letters.py::letter_as_seen",
                "row is None or row.status is not ExecutionStatus.FAILED or draft.delivery(address).dead_at != seen",
                "row is None",
            ),
        ),
        tests=(f"{MODEL}test_run.py::test_v27_a_letter_that_has_changed_since_it_was_seen_is_refused",),
    ),
    Reversal(
        letter="V28",
        hole="What runs when its run turns back goes on to others, and these begin.",
        taken_away="after the turn events have no deliveries",
        edits=(
            Edit(
                f"{RULES}draft.py::RunDraft::takes_events",
                "return self.ended_by is None and self.turned_at is None and not self.has_ended",
                "return self.ended_by is None and not self.has_ended",
            ),
        ),
        tests=(
            f"{MODEL}test_undoing.py::test_v28_after_the_turn_events_are_recorded_and_have_no_deliveries",
            f"{MODEL}test_undoing.py::test_v28_an_event_from_outside_after_the_turn_is_a_late_letter",
        ),
    ),
    Reversal(
        letter="V33",
        hole="A success that is reported after the undo of its handler is taken for a completion, and stays.",
        taken_away="the late effect of a closed handler is undone again",
        edits=(
            Edit(
                f"{RULES}late.py::late_success",
                "if step.address.is_action and draft.is_closed(step):",
                "if step.address.is_action and step.stray:",
            ),
        ),
        tests=(
            f"{MODEL}test_late.py::test_v33_a_late_success_of_a_closed_handler_is_undone_again_also_out_of_compensated",
        ),
    ),
)
