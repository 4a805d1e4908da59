"""B1 to B19: the line, its window, its evidence and its lease."""

from tests.holes.reversal import Edit, Reversal

LINES = "tests/integration/store/test_lines.py::"
SWEEPING = "tests/integration/store/test_sweeping.py::"
WAKING_UP = "tests/integration/test_waking_up.py::"
DEPLOY = "tests/integration/test_rolling_deploy.py::"
FILLING = "tests/integration/test_filling.py::"
WINDOW = "tests/unit/recovery/test_window.py::"
STATEMENTS = "sagas/store/line_statements.py"
RECOVERY = "tests/integration/store/test_recovery_statements.py::"
OUTAGES = "tests/integration/test_outages.py::"

OF_LINES = (
    Reversal(
        letter="B1",
        hole="A holder that was frozen wakes up and sends what another one has been sending since.",
        taken_away="who gives steps out tests that it still holds the lease",
        edits=(
            Edit(
                f"{STATEMENTS}::LEASE_HELD",
                "EXISTS (SELECT FROM {s}.saga_lease "
                "WHERE name = :lease_name AND holder = :me AND until > clock_timestamp())",
                "(:lease_name = :lease_name AND CAST(:me AS uuid) IS NOT NULL)",
            ),
        ),
        tests=(f"{LINES}test_b1_a_lease_that_its_frozen_holder_does_not_renew_goes_to_another",),
    ),
    Reversal(
        letter="B1",
        hole="A process that is stopped while it takes the lease stops recovery in the whole fleet.",
        taken_away="nobody queues for the lease",
        edits=(
            Edit(f"{STATEMENTS}::TAKE_LEASE", "FOR UPDATE SKIP LOCKED\n), first AS (", "FOR UPDATE\n), first AS ("),
        ),
        tests=(f"{LINES}test_b1_nobody_waits_for_a_lease_that_is_being_taken",),
    ),
    Reversal(
        letter="B2",
        hole="Nobody is ever declared dead, and no deadline fires: each change of the leader looks like an outage.",
        taken_away="whoever makes a pass says that there is no outage",
        edits=(
            Edit(
                "sagas/store/sweep_statements.py::LOOK_AROUND::swept",
                "UPDATE {s}.saga_sweep AS this SET swept_at = clock_timestamp(),\n    outage_from",
                "UPDATE {s}.saga_sweep AS this\n"
                "    SET swept_at = CASE WHEN former.is_long_ago OR this.swept_at = '-infinity' \n"
                "        THEN clock_timestamp() ELSE this.swept_at END,\n"
                "    outage_from",
            ),
        ),
        tests=(f"{LINES}test_b2_an_outage_is_that_no_worker_began_a_pass_and_not_that_one_of_them_died",),
    ),
    Reversal(
        letter="B3",
        hole="Pacing confirms itself: what is claimed is what was sent, so a new queue never gets more than a few.",
        taken_away="the window grows whenever the queue ran empty",
        edits=(Edit("sagas/recovery/filling.py::Window::room", "self.size *= 1 if is_held else 2", "self.size += 0"),),
        tests=(f"{WINDOW}test_b3_it_doubles_whenever_the_queue_ran_empty",),
    ),
    Reversal(
        letter="B3",
        hole="A hundred thousand lost messages stand in line again before one is sent: nothing ends for a minute.",
        taken_away="work goes on while the lost return to the line",
        edits=(Edit("sagas/recovery/filling.py::Filler::_put_lost_back", "range(TIMES)", "range(10**6)"),),
        tests=(f"{FILLING}test_b3_work_goes_on_before_all_of_a_great_loss_stands_in_line_again",),
    ),
    Reversal(
        letter="B3",
        hole="The same, since lost messages that are in no line yet count as sent ones, and fill the window.",
        taken_away="while more are lost than were put back, claims tell what is out",
        edits=(
            Edit(
                "sagas/recovery/filling.py::Filler::_fill_queue",
                "window.still_out(waiting.taken_until) if waiting.queue in self._lossy else waiting.out",
                "waiting.out",
            ),
        ),
        tests=(f"{FILLING}test_b3_work_goes_on_before_all_of_a_great_loss_stands_in_line_again",),
    ),
    Reversal(
        letter="B4",
        hole="What waits to be sent is looked at again and again, and timers starve behind it.",
        taken_away="what is out, or in line, is not due",
        edits=(
            Edit(
                "sagas/store/statements.py::START::born",
                "least(clock_timestamp() + CAST(:silence AS interval),",
                "least(clock_timestamp() + CAST(:silence AS interval) / 1000000,",
            ),
        ),
        tests=(f"{LINES}test_b4_what_waits_to_be_sent_is_not_due",),
    ),
    Reversal(
        letter="B4",
        hole="Mail for thousands of sagas takes the whole pass, and timers and deadlines come after it.",
        taken_away="each part of a pass has a share of its time",
        edits=(
            Edit(
                "sagas/recovery/sweep.py::Sweeper::run",
                "self._look_at_all(self._inbox.unseen, budget / 4)",
                "self._look_at_all(self._inbox.unseen, NO_LIMIT)",
            ),
        ),
        tests=(f"{SWEEPING}test_b4_unseen_mail_leaves_a_share_of_the_pass_to_what_is_due",),
    ),
    Reversal(
        letter="B5",
        hole="A message that a rate limit keeps back in a worker is sent again and again.",
        taken_away="what a living worker keeps back is not lost",
        edits=(Edit(f"{STATEMENTS}::PUT_LOST_BACK::lost", "= ANY (keeper.kept))", "= ANY ('{}'::text[]))"),),
        tests=(f"{LINES}test_b5_what_a_living_worker_keeps_back_is_not_lost",),
    ),
    Reversal(
        letter="B6",
        hole="One young step that is claimed makes every older message of its queue lost.",
        taken_away="a claim tells when its message was sent, not when its step was born",
        edits=(
            Edit(
                "sagas/store/statements.py::TAKEN::progress",
                "SELECT queue, %(sent)s::timestamptz FROM claimed WHERE %(sent)s::timestamptz IS NOT NULL AND queue",
                "SELECT queue, coalesce(created_at, %(sent)s::timestamptz) FROM claimed WHERE queue",
            ),
        ),
        tests=(f"{LINES}test_b6_c2_a_young_step_that_is_claimed_by_an_old_message_or_by_none_proves_nothing",),
    ),
    Reversal(
        letter="B6",
        hole="Steps of low priority, which others overtake by design, are sent again and again.",
        taken_away="of a step with a priority only an idle consumer proves a loss",
        edits=(
            Edit(
                f"{STATEMENTS}::PUT_LOST_BACK::lost",
                "plan ->> 'priority' IS NOT NULL)",
                "plan ->> 'priority' = 'never')",
            ),
        ),
        tests=(f"{LINES}test_b6_of_a_step_with_a_priority_only_an_idle_consumer_proves_a_loss",),
    ),
    Reversal(
        letter="B7",
        hole="Starts go past the backlog, which never ends.",
        taken_away="a start joins the line of its queue",
        edits=(
            Edit(
                "sagas/store/statements.py::START::step",
                "CASE WHEN waiting.is_there THEN CAST(:line AS text) END",
                "CASE WHEN waiting.is_there AND false THEN CAST(:line AS text) END",
            ),
        ),
        tests=(f"{LINES}test_b7_a_start_joins_the_line_of_its_queue_where_there_is_one",),
    ),
    Reversal(
        letter="B7",
        hole="A customer's click waits behind a batch of a hundred thousand.",
        taken_away="sagas have their turns",
        edits=(
            Edit(
                f"{STATEMENTS}::FILL::next", "ORDER BY line <> '', turn, created_at", "ORDER BY line <> '', created_at"
            ),
        ),
        tests=(f"{LINES}test_b7_steps_of_begun_sagas_go_first_then_sagas_in_turn_by_age_within",),
    ),
    Reversal(
        letter="B8",
        hole="One statement moves a whole backlog, and completions wait for its locks.",
        taken_away="no statement is without a limit",
        edits=(
            Edit(
                f"{STATEMENTS}::PUT_LOST_BACK::lost",
                "ORDER BY line, created_at LIMIT :limit",
                "ORDER BY line, created_at LIMIT :limit + 1000000",
            ),
        ),
        tests=(f"{LINES}test_b8_no_statement_is_without_a_limit",),
    ),
    Reversal(
        letter="B8",
        hole="One worker takes all that is due, and the others, or its own death, leave it alone for a lease.",
        taken_away="what a statement takes is limited",
        edits=(
            Edit(
                "sagas/store/sweep_statements.py::TAKE_DUE",
                "ORDER BY due_at LIMIT :limit",
                "AND :limit > 0 ORDER BY due_at",
            ),
        ),
        tests=(f"{RECOVERY}test_b8_no_statement_of_recovery_is_without_a_limit[TAKE_DUE]",),
    ),
    Reversal(
        letter="B8",
        hole="Of a hundred thousand lost messages each batch of five hundred reads and sorts them all.",
        taken_away="lost messages are read in the order of their index",
        edits=(
            Edit(
                f"{STATEMENTS}::PUT_LOST_BACK::lost",
                "ORDER BY line, created_at LIMIT :limit",
                "ORDER BY created_at LIMIT :limit",
            ),
        ),
        tests=(f"{RECOVERY}test_b8_no_statement_of_recovery_is_without_a_limit[PUT_LOST_BACK]",),
    ),
    Reversal(
        letter="B9",
        hole="The sweeps of a fleet look at the same instances, and none is faster than one alone.",
        taken_away="each sweep takes a batch of its own",
        edits=(
            Edit(
                "sagas/store/sweep_statements.py::TAKE_DUE",
                "SET due_at = clock_timestamp() + CAST(:lease AS interval)\nFROM due",
                "SET due_at = instance.due_at + 0 * CAST(:lease AS interval)\nFROM due",
            ),
        ),
        tests=(f"{SWEEPING}test_b9_what_one_sweep_has_taken_no_other_one_takes",),
    ),
    Reversal(
        letter="B9",
        hole="A hundred thousand sleepers wake up at one moment, and the fleet looks at one after the other.",
        taken_away="those who merely wake up are a statement a batch",
        edits=(
            Edit(
                "sagas/recovery/sweep.py::Sweeper::_wake",
                "while self._sent >= SENT_AT_ONCE and",
                "while self._sent < 0 and",
            ),
        ),
        tests=(f"{WAKING_UP}test_b9_a_thousand_sleepers_wake_by_few_statements_and_each_is_sent_once_in_order",),
    ),
    Reversal(
        letter="B9",
        hole="A saga that was cancelled while it slept goes on.",
        taken_away="who has mail is no plain sleeper",
        edits=(
            Edit(
                "sagas/store/wake_statements.py::WAKE_PLAIN::plain",
                "AND mail.consumed_at IS NULL AND mail.seen_at IS NULL)",
                "AND mail.seen_at IS NULL AND false)",
            ),
        ),
        tests=("tests/integration/store/test_waking.py::test_b9_whatever_else_there_is_to_decide_is_looked_at",),
    ),
    Reversal(
        letter="B10",
        hole="The broker is away for the leader alone, which marks and fails for the whole fleet.",
        taken_away="who cannot publish leaves the lease to another",
        edits=(Edit("sagas/recovery/filling.py::Filler::fill", "if patience or self._failures >= 2:", "if patience:"),),
        tests=(f"{FILLING}test_b10_b12_what_the_broker_does_not_take_stands_where_it_stood",),
    ),
    Reversal(
        letter="B10",
        hole="While the broker is away each look at the line marks a hundred steps as sent, and puts them all back.",
        taken_away="after a failed publish a single one is tried",
        edits=(
            Edit(
                "sagas/recovery/filling.py::Filler::_fill_queue",
                "limit = 1 if self._tries else min(BATCH, room - sent)",
                "limit = min(BATCH, room - sent)",
            ),
        ),
        tests=(f"{OUTAGES}test_b10_a_broker_that_was_away_for_long_costs_two_tries_a_pass",),
    ),
    Reversal(
        letter="B11",
        hole="A duplicate locks, reads and writes the whole of its saga: it costs more than a claim.",
        taken_away="what finds nothing to claim is one read",
        edits=(
            Edit(
                "sagas/engine/unclaimed.py::nothing_to_claim",
                "if own is not None and own.status not in OPEN:",
                "if own is None:",
            ),
        ),
        tests=(
            "tests/integration/test_lost_and_doubled_messages.py::"
            "test_b11_a_duplicate_costs_a_claim_in_vain_and_one_read",
        ),
    ),
    Reversal(
        letter="B12",
        hole="What could not be published stands in no line, and waits for evidence.",
        taken_away="a failed publish puts its step back",
        edits=(
            Edit(
                "sagas/recovery/filling.py::Filler::_failed",
                "self._lines.put_back(released.instance_id, released.address)\nself.close()",
                "self.close()",
            ),
        ),
        tests=(f"{FILLING}test_b10_b12_what_the_broker_does_not_take_stands_where_it_stood",),
    ),
    Reversal(
        letter="B13",
        hole="Each of beat's sweeps is a pass in a process that should run steps.",
        taken_away="beat's sweep does nothing where a timer sweeps",
        edits=(
            Edit(
                "sagas/recovery/sweep.py::sweep",
                "if not forced and sweeping.is_swept():\n    return 0",
                "",
            ),
        ),
        tests=(f"{SWEEPING}test_b13_beats_sweep_does_nothing_where_a_timer_sweeps",),
    ),
    Reversal(
        letter="B13",
        hole="Where timers look rarely, beat's sweep takes the time between two of their passes for their absence.",
        taken_away="how old the last pass may be follows from how often timers make one",
        edits=(
            Edit(
                "sagas/store/timing.py::Timing::lately",
                "max(self.lease, timedelta(seconds=2 * self.pause))",
                "self.lease",
            ),
        ),
        tests=(f"{SWEEPING}test_b13_between_two_passes_of_a_timer_it_never_makes_one_of_its_own[0.5-10.0]",),
    ),
    Reversal(
        letter="B14",
        hole="While all slots are in long steps no death is found and no sleep ends: no process is free for a sweep.",
        taken_away="the timers of workers are the sweep",
        edits=(
            Edit(
                "sagas/recovery/worker.py::WorkerLife::start",
                '("sagas-sweep", lambda: timing.pause, lambda: sweeper.run(timing.budget)),',
                "",
            ),
        ),
        tests=("tests/faults/test_backlogs.py::test_b14_while_all_slots_are_in_long_steps_passes_are_made",),
    ),
    Reversal(
        letter="B15",
        hole="After a restart of PostgreSQL what was idle before it proves everything lost that was sent since.",
        taken_away="evidence from before an outage is none",
        edits=(
            Edit(
                f"{STATEMENTS}::PUT_LOST_BACK::evidence",
                "WHERE coalesce(idle, claimed) > coalesce((SELECT outage_until FROM {s}.saga_sweep), '-infinity')",
                "WHERE coalesce(idle, claimed) > '-infinity'",
            ),
        ),
        tests=(f"{LINES}test_b15_evidence_from_before_an_outage_is_none",),
    ),
    Reversal(
        letter="B16",
        hole="After a failover a lease ends in a year, and nothing is sent until then.",
        taken_away="a lease that ends absurdly late is over",
        edits=(
            Edit(
                f"{STATEMENTS}::TAKE_LEASE::free", "OR until > clock_timestamp() + 10 * CAST(:hold AS interval))", ")"
            ),
        ),
        tests=(f"{LINES}test_b16_a_lease_that_ends_absurdly_late_is_over",),
    ),
    Reversal(
        letter="B17",
        hole="One worker that is not replaced yet looks at all that waits, and sends it again with each pass.",
        taken_away="a pass begins before an old timer thinks that none does",
        edits=(
            Edit("sagas/store/timing.py::Timing::pause", "return 0.75 * self.sweep_every", "return self.sweep_every"),
        ),
        tests=(f"{DEPLOY}test_b17_an_old_timer_returns_at_once_where_a_new_one_makes_its_passes",),
    ),
    Reversal(
        letter="B17",
        hole="While a pass takes long, an old timer begins one of its own.",
        taken_away="a pass that takes long says that it goes on",
        edits=(Edit("sagas/recovery/sweep.py::Sweeper::_look_at", "self._sweeping.go_on()", ""),),
        tests=(f"{DEPLOY}test_b17_a_pass_that_takes_long_says_that_it_goes_on",),
    ),
    Reversal(
        letter="B19",
        hole="The window of a queue that a rate limit stops grows and grows, and all of its line lies in the broker.",
        taken_away="what is kept back is no queue that ran empty",
        edits=(Edit("sagas/recovery/filling.py::Window::room", "self.size *= 1 if is_held else 2", "self.size *= 2"),),
        tests=(
            f"{WINDOW}test_b19_what_a_rate_limit_keeps_back_is_no_queue_that_ran_empty",
            "tests/integration/test_filling.py::test_b19_while_a_rate_limit_keeps_messages_back_the_window_is_held",
        ),
    ),
)
