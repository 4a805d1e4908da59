"""How Celery tasks are really written: hooks, eager suites, task classes."""

from tests.holes.reversal import Edit, Reversal

EAGER = "tests/integration/test_eager.py::"
HOOKS = "tests/integration/test_hooks.py::"

TASKS = (
    Reversal(
        letter="D35",
        hole="A `before_start` that raises ends its message before the step is claimed: the step is sent again and "
        "again, and the saga waits for ever without a word.",
        taken_away="what before_start raises is kept for the claim",
        edits=(
            Edit(
                "sagas/engine/task.py::_fenced_hook::before_start",
                "except BaseException as error:\n    setattr(self.request, _NOT_READY, error)",
                "except GeneratorExit as error:\n    setattr(self.request, _NOT_READY, error)",
            ),
        ),
        tests=(
            f"{HOOKS}test_d35_a_before_start_that_raises_is_the_tasks_failure_with_its_reason_and_nothing_was_done",
            f"{HOOKS}test_d35_a_before_start_that_cures_itself_is_tried_again_by_the_steps_policy",
        ),
    ),
    Reversal(
        letter="D31",
        hole="With task_always_eager the first step runs inside start(), before its caller has committed, and the rest "
        "never: the saga stays where it is without an error.",
        taken_away="an eager start is refused",
        edits=(
            Edit(
                "sagas/engine/core.py::Engine::refuse_eager",
                "if self.app.conf.task_always_eager and not self.runs_inline:",
                "if self.app.conf.task_always_eager is None:",
            ),
        ),
        tests=(f"{EAGER}test_d31_an_eager_start_is_refused_before_anything_is_inserted",),
    ),
)
