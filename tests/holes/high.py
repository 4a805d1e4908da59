"""H1 to H5: messages, counters, the sweep."""

from tests.holes.reversal import Edit, Reversal

MODEL = "tests/unit/model/"
ENGINE = "tests/unit/engine/"
STORE = "tests/integration/store/"
DEATHS = f"{STORE}test_deaths.py::"
SWEEPING = f"{STORE}test_sweeping.py::"
LOST = f"{STORE}test_lost_messages.py::"
DOUBLED = "tests/integration/test_lost_and_doubled_messages.py::"

HIGH = (
    Reversal(
        letter="H1",
        hole="A duplicate that finds nothing to claim returns, and Celery publishes the rest of its chain: n "
        "copies make n walkers, to the end of the saga.",
        taken_away="dropping a message cuts the tail of its chain",
        edits=(Edit("sagas/engine/messages.py::cut_tail", "request.chain = None", "return"),),
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
                "sagas/engine/messages.py::may_continue_chain",
                "is_redelivered(request)\nand own is not None",
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
                "sagas/extension.py::Sagas::_add_tasks::on_error",
                "engine.loop.handle(instance_id, Tick())",
                "from sagas.model import Stop, StopKind, StopRequested\n"
                "\n"
                'failed = Stop(kind=StopKind.CANCELLED, reason="a step failed")\n'
                "engine.loop.handle(instance_id, StopRequested(stop=failed))",
            ),
        ),
        tests=(f"{DOUBLED}test_h2_an_error_callback_that_comes_late_turns_nobody_back",),
    ),
    Reversal(
        letter="H2",
        hole="A deploy kills the process of a step; counted as a failure, that uses up `max_attempts=1`, and the "
        "saga is undone for nothing.",
        taken_away="losses are counted apart from failures",
        edits=(Edit("sagas/model/state.py::StepState::failures", "self.forgiven - self.losses", "self.forgiven"),),
        tests=(f"{MODEL}test_decide.py::test_h2_losses_use_up_no_attempt",),
    ),
    Reversal(
        letter="H2",
        hole="A step that kills its process every time is run again for ever.",
        taken_away="losses have a budget of their own",
        edits=(
            Edit(
                "sagas/model/executions.py::Executions::lost",
                "within_budget = step.losses + 1 <= self.plan_step(step).max_losses",
                "within_budget = True",
            ),
        ),
        tests=(f"{MODEL}test_decide.py::test_h2_losses_have_a_budget_of_their_own",),
    ),
    Reversal(
        letter="H3",
        hole="A claim does not move `due_at`: a saga whose holder dies is looked at when it would have been anyway, "
        "up to an hour later.",
        taken_away="the sweep picks what the dead hold, due or not",
        edits=(Edit("sagas/store/sweep_statements.py::PICK_LOST", "OR seen.holder = 'dead' OR (", "OR ("),),
        tests=(
            f"{DEATHS}test_h3_a_claim_that_a_later_heartbeat_does_not_list_is_dead_and_due_at_once",
            f"{DEATHS}test_h3_a_dead_holder_is_found_at_once_also_after_a_long_wait_in_the_queue",
            f"{DEATHS}test_h3_a_worker_that_said_goodbye_holds_nothing",
        ),
    ),
    Reversal(
        letter="H3",
        hole="A worker is declared dead, and a sibling of the step that it holds completes before the sweep looks: the "
        "instance has changed since the death, which counts as that look, and the step waits until its time is over.",
        taken_away="what would run again is looked at for as long as a silent worker holds it",
        edits=(
            Edit("sagas/store/sweep_statements.py::PICK_LOST", "OR step.round > 0", ""),
            Edit("sagas/store/sweep_statements.py::PICK_LOST", "step.synced_claim IS NOT TRUE AND", "false AND"),
        ),
        tests=(
            f"{DEATHS}test_h3_a_sibling_that_completes_after_the_death_hides_no_silent_holder",
            f"{DEATHS}test_h3_a_change_after_the_death_hides_no_silent_holder_of_an_undo",
        ),
    ),
    Reversal(
        letter="H4",
        hole="One instance on which a look raises ends the pass: all that is due after it is never looked at.",
        taken_away="an instance that raises does not stop the pass",
        edits=(
            Edit(
                "sagas/recovery/sweep.py::Sweeper::_look_at",
                "if isinstance(error, DBAPIError) and is_outage(error):\n    raise\ntold =",
                "raise\ntold =",
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
        taken_away="what is taken is not due for a while, and an instance that raises backs off",
        edits=(
            Edit(
                "sagas/store/sweep_statements.py::TAKE_DUE",
                "SET due_at = clock_timestamp() + CAST(:lease AS interval)\nFROM due",
                "SET due_at = instance.due_at\nFROM due",
            ),
            Edit(
                "sagas/recovery/sweep.py::Sweeper::_look_at",
                "self._sweeping.back_off(instance_id, told.to_json(), error)",
                "",
            ),
        ),
        tests=(f"{SWEEPING}test_h4_more_bad_instances_than_one_batch_do_not_starve_the_good_one",),
    ),
    Reversal(
        letter="H4",
        hole="An instance that no look can move is looked at every few seconds for ever, and its history tells no "
        "reason.",
        taken_away="an instance that raises backs off",
        edits=(
            Edit(
                "sagas/recovery/sweep.py::Sweeper::_look_at",
                "self._sweeping.back_off(instance_id, told.to_json(), error)",
                "",
            ),
        ),
        tests=(f"{SWEEPING}test_h4_one_bad_instance_backs_off_alone_twice_as_long_each_time_with_an_event",),
    ),
    Reversal(
        letter="H4",
        hole="A sweep waits for an instance that somebody holds, and everything else that is due waits with it.",
        taken_away="the sweep passes over what is locked",
        edits=(
            Edit("sagas/recovery/sweep.py::Sweeper::_look_at", "Tick(), skip_locked=True", "Tick(), skip_locked=False"),
            Edit(
                "sagas/store/sweep_statements.py::TAKE_DUE::due",
                "ORDER BY due_at LIMIT :limit\nFOR UPDATE SKIP LOCKED",
                "ORDER BY due_at LIMIT :limit\nFOR UPDATE",
            ),
        ),
        tests=(f"{SWEEPING}test_h4_a_locked_instance_is_passed_over_and_the_others_are_moved",),
    ),
    Reversal(
        letter="H4",
        hole="A pile of sweep messages, as a backlog leaves it, makes as many passes over everything.",
        taken_away="a sweep of beat's that follows another one at once returns",
        edits=(
            Edit(
                "sagas/recovery/sweep.py::sweep",
                "if not forced and sweeping.is_swept():",
                "if not forced and sweeping.is_swept() is None:",
            ),
        ),
        tests=(f"{SWEEPING}test_b13_beats_sweep_does_nothing_where_a_timer_sweeps",),
    ),
    Reversal(
        letter="H5",
        hole="Ten thousand sagas behind a worker that is away for ten minutes are sent again every few seconds, "
        "and become sixty thousand messages.",
        taken_away="without evidence a message is not sent again; now it is after five seconds",
        edits=(
            Edit(
                "sagas/model/examining.py::is_to_be_sent",
                "return abs(draft.now - step.dispatched_at) >= LONGEST_SILENCE",
                "return abs(draft.now - step.dispatched_at) >= timedelta(seconds=5)",
            ),
            Edit(
                "sagas/model/executions.py::Executions::when_to_look",
                "return self.now + LONGEST_SILENCE",
                "return self.now + timedelta(seconds=5)",
            ),
            Edit(
                "sagas/store/starting.py::Starting::_values",
                '"silence": LONGEST_SILENCE,',
                '"silence": LONGEST_SILENCE / 720,',
            ),
        ),
        tests=(
            f"{MODEL}test_examine.py::test_h5_what_is_out_is_left_alone_however_long_its_queue_is",
            f"{LOST}test_h5_a_backlog_of_ten_minutes_costs_one_message_a_saga",
        ),
    ),
    Reversal(
        letter="H5",
        hole="A message that a frozen worker or a flushed broker has lost costs its saga an hour, on idle workers.",
        taken_away="a message that is lost by all evidence is sent again at once",
        edits=(
            Edit(
                "sagas/recovery/filling.py::Filler::fill",
                "self._put_lost_back()",
                "pass",
            ),
        ),
        tests=(
            f"{LOST}test_h5_a_message_that_a_later_one_overtook_is_sent_again_at_once",
            f"{LOST}test_h5_a_message_whose_consumers_sit_idle_is_sent_again_at_once",
        ),
    ),
    Reversal(
        letter="H5",
        hole="A worker that sits idle beside a queue that it does not consume, or one that is dead, is evidence of "
        "losses: a backlog is sent again with every look.",
        taken_away="only a living consumer of the same queue is evidence",
        edits=(
            Edit(
                "sagas/store/line_statements.py::PUT_LOST_BACK::lost",
                "WHERE {unclaimed} AND queue = evidence.queue AND line IS NULL",
                "WHERE {unclaimed} AND queue IS NOT NULL AND line IS NULL",
            ),
        ),
        tests=(f"{LOST}test_h5_who_sits_idle_beside_another_queue_proves_nothing",),
    ),
    Reversal(
        letter="H5",
        hole="A message that nobody can take is evidence of its own loss each time: a storm beside an idle worker.",
        taken_away="from the third time on the message must have been out for twice as long each time",
        edits=(
            Edit(
                "sagas/store/line_statements.py::PUT_LOST_BACK::lost",
                "- CAST(:lease AS interval) * (power(2, least(greatest(dispatches - 2, 0), 9)) - 1)",
                "",
            ),
        ),
        tests=(f"{LOST}test_h5_a_message_that_nobody_can_take_becomes_no_storm",),
    ),
)
