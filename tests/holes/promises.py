"""D26 to D30: deadlines, restarts, places in line, and what waits for a person."""

from tests.holes.reversal import Edit, Reversal

MODEL = "tests/unit/model/"
STORE = "tests/integration/store/"
STATEMENTS = "sagas/store/statements.py"

PROMISES = (
    Reversal(
        letter="D26",
        hole="Steps that follow one another without a pause meet no sweep: a saga goes on long after its deadline.",
        taken_away="nothing but the turn back follows a completion after the deadline",
        edits=(
            Edit(
                f"{STATEMENTS}::COMPLETE::instance",
                "%(may_stop)s AND coalesce(",
                "%(may_stop)s AND false AND coalesce(",
            ),
        ),
        tests=(
            f"{STORE}test_deadlines.py::test_d26_a_completion_after_the_deadline_counts_and_only_the_turn_back_follows",
            f"{STORE}test_deadlines.py::test_d26_so_it_is_beside_others",
        ),
    ),
    Reversal(
        letter="D26",
        hole="A step that is tried again every second is tried as often as its policy says, deadline or not.",
        taken_away="no action is claimed after the deadline",
        edits=(Edit(f"{STATEMENTS}::BEFORE_DEADLINE", "AND (round > 0 OR status = 'running' OR", "AND (true OR"),),
        tests=(f"{STORE}test_deadlines.py::test_d26_a_claim_is_refused_by_sql_exactly_when_it_is_by_decide",),
    ),
    Reversal(
        letter="D26",
        hole="What workers claim between an outage and the first sweep is too late: one outage turns all back.",
        taken_away="a deadline does not run while nobody sweeps, in SQL either",
        edits=(Edit(f"{STATEMENTS}::DEADLINE", "WHEN moved.deadline >= sweep.swept_at AND", "WHEN false AND"),),
        tests=(f"{STORE}test_deadlines.py::test_d26_after_an_outage_what_was_left_of_a_deadline_is_left",),
    ),
)
