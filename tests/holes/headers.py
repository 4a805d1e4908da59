"""D9, D10 and D21 to D24: which headers of its caller a saga keeps, and for whom."""

from tests.holes.reversal import Edit, Reversal

MODEL = "tests/unit/model/test_headers.py::"
HEADERS = "tests/integration/test_headers.py::"
KEPT = "tests/integration/test_headers_kept.py::"

RULES = "sagas/model/headers.py"
CAPTURE = "sagas/engine/capture.py"

OF_HEADERS = (
    Reversal(
        letter="D9",
        hole="Something is published to see its headers: a span that a receiver begins stays current in its caller.",
        taken_away="it is published in a copy of the caller's context",
        edits=(
            Edit(
                f"{CAPTURE}::captured",
                "copy_context().run(run)",
                "token = _capturing.set(None)\nrun()\n_capturing.reset(token)",
            ),
        ),
        tests=(f"{HEADERS}test_d9_what_receivers_leave_behind_in_their_context_is_not_left_in_the_callers",),
    ),
    Reversal(
        letter="D9",
        hole="A task class with an `apply_async` of its own that drops what it is given ends every message of its "
        "sagas as a plain call.",
        taken_away="a task that loses a message's headers is refused at start",
        edits=(
            Edit(
                f"{CAPTURE}::Captor::kept",
                "if step is not None and ADDRESS_HEADER not in headers:",
                "if step is None and not headers:",
            ),
        ),
        tests=(f"{HEADERS}test_d9_a_task_class_that_loses_the_headers_it_is_given_is_refused_at_start",),
    ),
    Reversal(
        letter="D10",
        hole="Kept headers replace a message's own id, task and limits: one id on all of them, and a revoke kills all.",
        taken_away="names of Celery's own message are never kept",
        edits=(
            Edit(
                f"{RULES}::_is_celerys",
                "not isinstance(name, str) or name in CELERYS or",
                "not isinstance(name, str) or",
            ),
        ),
        tests=(f"{MODEL}test_d10_what_tells_the_message_or_the_moment_is_not_kept",),
    ),
    Reversal(
        letter="D21",
        hole="A caller's Authorization lies in the row for days, and in five to ten messages.",
        taken_away="what looks like a token is left out unless it is listed",
        edits=(Edit(f"{RULES}::Choice::_may_keep", "or not TOKENS.search(str(name))", "or bool(TOKENS)"),),
        tests=(
            f"{MODEL}test_d21_what_looks_like_a_token_is_left_out_unless_it_is_listed",
            f"{KEPT}test_d21_a_token_is_not_kept_and_that_is_told_once",
        ),
    ),
    Reversal(
        letter="D22",
        hole="An instrumentation's baggage is too big for a message: orders are refused for it.",
        taken_away="over the limit the trace goes first",
        edits=(
            Edit(
                f"{CAPTURE}::Captor::_bounded",
                "for superfluous in (tracing.BAGGAGE, tracing.TRACE):",
                "for superfluous in ():",
            ),
        ),
        tests=(f"{KEPT}test_d22_baggage_goes_first_and_is_told", f"{KEPT}test_d22_then_the_trace"),
    ),
    Reversal(
        letter="D22",
        hole="Any number of bytes is on every message of a saga.",
        taken_away="what is still too big is refused at start",
        edits=(Edit(f"{CAPTURE}::Captor::_bounded", "if size > MOST_BYTES:", "if size > 1000 * MOST_BYTES:"),),
        tests=(f"{KEPT}test_d22_then_the_start_is_refused",),
    ),
    Reversal(
        letter="D23",
        hole="Spans of days are under a root that was dropped long ago, sampled as its first moment was.",
        taken_away="after an hour a new trace begins",
        edits=(Edit("sagas/model/tracing.py::choose", "is_over = age > LASTS", "is_over = False"),),
        tests=(f"{MODEL}test_d23_which_trace_a_message_is_part_of",),
    ),
    Reversal(
        letter="D24",
        hole="A child saga is started by the loop, which has no caller: its steps run for nobody.",
        taken_away="a child takes its parent's headers",
        edits=(Edit("sagas/store/instances.py::Instances::_start_child", "headers=loaded.headers,", ""),),
        tests=(f"{HEADERS}test_d24_a_child_takes_its_parents",),
    ),
)
