"""H6 to H8: starts and signals in other people's transactions, and child sagas."""

from tests.holes.reversal import Edit, Reversal

STARTING = "tests/integration/test_start_in_transactions.py::"
SILENT = "tests/integration/test_start_without_broker.py::"
SIGNALS = "tests/integration/test_signals_in_transactions.py::"
REFUSALS = "tests/unit/definition/test_shape_refusals.py::"
CHILDREN = "tests/integration/test_child_sagas_lost_and_locked.py::"

HIGH_CALLERS = (
    Reversal(
        letter="H6",
        hole="A request waits for as long as another one's transaction is open that has the same key.",
        taken_away="a key is waited for briefly",
        edits=(Edit("sagas/store/starting.py::KEY_WAIT", 'KEY_WAIT = "2s"', 'KEY_WAIT = "0"'),),
        tests=(f"{STARTING}test_h6_a_key_held_by_another_open_transaction_is_waited_for_briefly_and_harms_nothing",),
    ),
    Reversal(
        letter="H6",
        hole="Two keys crosswise, or a key that is held for too long: the business transaction dies of it.",
        taken_away="a start in the caller's transaction has a savepoint around it",
        edits=(
            Edit(
                "sagas/store/starting.py::Starting::unharmed",
                "with translated(), transaction.savepoint():",
                "with translated():",
            ),
        ),
        tests=(
            f"{STARTING}test_h6_a_key_held_by_another_open_transaction_is_waited_for_briefly_and_harms_nothing",
            f"{STARTING}test_h6_two_keys_crosswise_cost_no_transaction",
        ),
    ),
    Reversal(
        letter="H6",
        hole="A REPEATABLE READ transaction cannot see the instance that was committed after its snapshot, and "
        "gets a serialisation failure instead of it.",
        taken_away="what the caller cannot see is looked for on another connection",
        edits=(
            Edit(
                "sagas/store/starting.py::Starting::insert_in", "if found is None and new.key is not None:", "if False:"
            ),
        ),
        tests=(f"{STARTING}test_h6_a_repeatable_read_caller_gets_the_instance_committed_after_its_snapshot",),
    ),
    Reversal(
        letter="H6",
        hole="A request hangs after its commit for as long as a broker that does not answer is waited for.",
        taken_away="a start waits for the broker briefly",
        edits=(
            Edit("sagas/engine/impatient.py::PATIENCE", "PATIENCE = 0.8", "PATIENCE = 10.0"),
            Edit("sagas/engine/impatient.py::PROBE", "PROBE = 0.1", "PROBE = 10.0"),
        ),
        tests=(f"{SILENT}test_a_broker_that_never_answers_costs_the_first_start_little_and_the_next_ones_nothing",),
    ),
    Reversal(
        letter="H7",
        hole="A signal inside somebody's transaction that then calls a slow service holds the instance's row: "
        "completions queue behind it, and the sweep passes it over.",
        taken_away="an inbox is written without a lock on the instance",
        edits=(
            Edit(
                "sagas/store/neighbour_statements.py::PUT_INTO_INBOX",
                "VALUES (:instance_id, :kind,",
                "VALUES ((SELECT id FROM {s}.saga_instance WHERE id = :instance_id FOR UPDATE), :kind,",
            ),
        ),
        tests=(
            f"{SIGNALS}test_h7_a_cancel_and_its_undoing_do_not_wait_for_an_open_signal",
            f"{SIGNALS}test_h7_a_saga_goes_on_while_a_transaction_with_a_signal_for_it_is_open",
        ),
    ),
    Reversal(
        letter="H8",
        hole="A child's end locks the parent while the parent's cancel locks the child: they deadlock.",
        taken_away="a child tells its parent without a lock on it",
        edits=(
            Edit(
                "sagas/store/statements.py::COMPLETE::told",
                "SELECT parent_id, 'child' FROM moved",
                "SELECT (SELECT id FROM {s}.saga_instance WHERE id = moved.parent_id FOR UPDATE), 'child'\nFROM moved",
            ),
        ),
        tests=(f"{CHILDREN}test_h8_a_child_ends_while_its_parents_row_is_locked",),
    ),
    Reversal(
        letter="H8",
        hole="The same from the other side: a parent that turns back waits for its child's row.",
        taken_away="a parent tells its child without a lock on it",
        edits=(
            Edit(
                "sagas/store/neighbour_statements.py::PUT_INTO_INBOX",
                "VALUES (:instance_id, :kind,",
                "VALUES ((SELECT id FROM {s}.saga_instance WHERE id = :instance_id FOR UPDATE), :kind,",
            ),
        ),
        tests=(f"{CHILDREN}test_h8_a_parent_turns_back_while_its_childs_row_is_locked",),
    ),
    Reversal(
        letter="H8",
        hole="A completed child is undone as a unit, which no status allows.",
        taken_away="a completed child may be turned back by its parent",
        edits=(
            Edit(
                "sagas/model/decide.py::undo_as_one",
                "if draft.status is SagaStatus.COMPLETED and draft.before.parent is not None:",
                "if draft.status is SagaStatus.COMPLETED and draft.before.parent is None:",
            ),
        ),
        tests=(f"{CHILDREN}test_a_parents_turn_of_which_its_completed_child_was_not_told_is_found_by_the_sweep",),
    ),
    Reversal(
        letter="H8",
        hole="A child that is past its pivot cannot be undone when its parent turns back.",
        taken_away="a child with a pivot is refused where it would have to be undone",
        edits=(
            Edit(
                "sagas/definition/waiting.py::Child::check_place",
                "if has_pivot and place.kind is StepKind.COMPENSATABLE:",
                "if False:",
            ),
        ),
        tests=(f"{REFUSALS}test_a_child_that_cannot_be_undone_or_would_wait_for_ever_is_refused[one with a pivot]",),
    ),
    Reversal(
        letter="H8",
        hole="A look that is repeated, or two at once, start two children.",
        taken_away="the child is remembered as started; now every look at it starts one",
        edits=(
            Edit(
                "sagas/model/waiting.py::look_at_child",
                "if child is None:\n    return",
                "if child is None or child.status is SagaStatus.PENDING:\n    draft.begin(step)\n    return",
            ),
        ),
        tests=(f"{CHILDREN}test_looks_at_once_start_one_child_whose_id_follows_from_its_parents",),
    ),
)
