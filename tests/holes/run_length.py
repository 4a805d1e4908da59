"""V14: what a run costs does not grow with its length."""

from tests.holes.reversal import Edit, Reversal

LENGTH = (
    "tests/integration/store/test_run_length.py::"
    "test_v14_whatever_happens_reads_as_much_of_a_long_run_as_of_a_short_one"
)

OF_RUN_LENGTH = (
    Reversal(
        letter="V14",
        hole="Each look at a run reads all of its deliveries, so that a run of n events costs n squared.",
        taken_away="a look reads what is open or dead",
        edits=(
            Edit(
                "sagas/store/runs.py::Runs::load",
                "whole = whole or bool(row.closed)",
                "whole = True",
            ),
        ),
        tests=("tests/integration/store/test_runs.py::test_v14_a_look_does_not_read_what_is_done",),
    ),
    Reversal(
        letter="V14",
        hole="A look at a run passes over everything that is done, row by row, on its way to what is open.",
        taken_away="a look finds what is open or dead by an index of its own",
        edits=(
            Edit(
                "sagas/store/loop_statements.py::LOAD",
                "step.event_id IS NOT NULL AND (step.finished_at IS NULL OR step.dead_at IS NOT NULL)",
                "(step.event_id IS NULL OR step.finished_at IS NULL OR step.dead_at IS NOT NULL) AND "
                "coalesce(step.event_id IS NOT NULL, true)",
            ),
        ),
        tests=(LENGTH,),
    ),
    Reversal(
        letter="V14",
        hole="To change one delivery of a run, its save reads all of them.",
        taken_away="the loop's statements find their rows one by one",
        edits=(
            Edit(
                "sagas/store/prepared.py::run_together",
                "begin += [PLANNING, NESTED] if begin else []",
                "begin += [PLANNING] if begin else []",
            ),
        ),
        tests=(LENGTH,),
    ),
)
