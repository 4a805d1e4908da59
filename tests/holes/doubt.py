"""D1 to D17 and D37: doubt as the default, what clears it, and whose headers a message carries."""

from tests.holes.reversal import Edit, Reversal

DOUBT_RULES = "tests/unit/model/test_doubt.py::"
JUDGING = "tests/unit/engine/test_judging.py::"
DESCRIBING = "tests/unit/engine/test_describing.py::"
CLIENTS = "tests/unit/engine/test_clients.py::"
CLEAN = "tests/unit/definition/test_clean.py::"
RECORDING = "tests/integration/test_recording.py::"
RESOLVING = "tests/integration/test_resolving.py::"
HEADERS = "tests/integration/test_headers.py::"
KEPT = "tests/unit/model/test_headers.py::"

JUDGE = "sagas/engine/judging.py"
SIGNS = "sagas/engine/signs.py"
SETTLE = "sagas/model/settle.py"
UNDOING = "sagas/model/undoing.py"
PARKING = "sagas/model/parking.py"
RUNNING = "sagas/engine/running.py"

NO_RESULT = Edit(f"{PARKING}::park", "if event.lacks_result and action is not step and action.doubt:", "if False:")

OF_DOUBT = (
    Reversal(
        letter="D1",
        hole="A pivot in doubt that did not happen has no way out: skipped it is a charge without goods, retried it "
        "ships what nobody wants, and its saga keeps its locks.",
        taken_away="a person may say of a pivot that it did not happen",
        edits=(
            Edit(
                "sagas/model/person.py::may_answer",
                "return can_turn_back(draft, replace(step, doubt=False, parked_since=None))",
                "return can_turn_back(draft, replace(step, parked_since=None))",
            ),
        ),
        tests=(
            f"{DOUBT_RULES}test_d1_a_pivot_in_doubt_that_did_not_happen_turns_the_saga_back",
            f"{RESOLVING}test_d1_a_pivot_that_did_not_happen_turns_the_saga_back",
        ),
    ),
    Reversal(
        letter="D2",
        hole="A pivot that was tried again after a clean answer (not yet, come again) can never turn back.",
        taken_away="tried again and in doubt are two answers",
        edits=(
            Edit(
                "sagas/model/executions.py::Executions::in_doubt",
                "(step.doubt or not verdict.is_clean)",
                "(step.doubt or verdict.is_again)",
            ),
        ),
        tests=(f"{DOUBT_RULES}test_d2_a_pivot_that_was_clean_each_time_it_was_tried_may_turn_back",),
    ),
    Reversal(
        letter="D2",
        hole="A condition that met a lost connection puts an action in doubt that has never begun.",
        taken_away="what was raised before the body is clean",
        edits=(
            Edit(
                f"{JUDGE}::Judgement::by_place",
                "clean = Verdict.of(again=self.verdict.is_again, clean=True)",
                "clean = Verdict.of(again=self.verdict.is_again, clean=self.verdict.is_clean)",
            ),
        ),
        tests=(f"{JUDGING}test_d2_what_was_raised_before_the_body_is_clean_whatever_it_was",),
    ),
    Reversal(
        letter="D3",
        hole="`refund(charge_id)` behind a charge that left no result waits for a deploy that cannot come, and every "
        "step before it waits behind it.",
        taken_away="an undo that lacks a name after an action in doubt without a result fails at once for a person",
        edits=(NO_RESULT,),
        tests=(
            f"{DOUBT_RULES}test_d3_an_undo_without_its_actions_result_waits_for_a_person_and_the_others_go_on",
            "tests/integration/test_fail_everywhere.py::test_d34_an_undo_without_the_result_that_it_requires_is_named",
        ),
    ),
    Reversal(
        letter="D37",
        hole="A branch that was told to stop has no result: at every ordinary failure beside it the undos wait for it.",
        taken_away="an undo that lacks a name after an action in doubt keeps no other one back",
        edits=(NO_RESULT,),
        tests=(
            f"{DOUBT_RULES}test_d37_a_sibling_that_was_told_to_stop_and_left_no_result_keeps_the_others_from_nothing",
        ),
    ),
    Reversal(
        letter="D5",
        hole="`clean=(StripeError,)` takes the lost connection for a refusal: the card is charged, and nothing undone.",
        taken_away="transient beats clean, whichever base is named",
        edits=(
            Edit(
                f"{JUDGE}::is_clean",
                "if named is None or members(error) or signs_of(error, named=named).is_transient:",
                "if named is None or members(error):",
            ),
        ),
        tests=(
            f"{JUDGING}test_d5_a_lost_connection_is_not_clean_whichever_base_of_it_is_named",
            f"{CLIENTS}test_d5_the_base_of_all_errors_of_a_client_does_not_make_its_lost_connections_clean",
        ),
    ),
    Reversal(
        letter="D5",
        hole="`clean=(ValueError,)` takes an answer that was no JSON, after the charge, for a refusal.",
        taken_away="builtins and the bases of lost connections are refused where the step is declared",
        edits=(
            Edit(
                "sagas/definition/clean.py::check_class",
                'if kind.__module__ == "builtins" or any(issubclass(known, kind) for known in lost):',
                "if kind is BaseException and lost:",
            ),
        ),
        tests=(f"{CLEAN}test_d5_what_may_have_acted_is_refused_with_the_reason_and_the_cure",),
    ),
    Reversal(
        letter="D6",
        hole="`except Timeout as e: raise PermanentError('the bank says no') from e` is clean: nobody knows whether "
        "the bank has charged.",
        taken_away="what was raised from or amid a lost connection is in doubt",
        edits=(
            Edit(
                f"{JUDGE}::is_clean",
                "return not any(_leaves_open(other) for other in errors_behind(error))",
                "return True",
            ),
        ),
        tests=(f"{JUDGING}test_d6_a_clean_no_that_was_raised_from_a_lost_connection_is_in_doubt",),
    ),
    Reversal(
        letter="D6",
        hole="A body records what it has charged, then says no: the charge stays.",
        taken_away="an execution that has recorded is never clean",
        edits=(
            Edit(
                f"{RUNNING}::Run::_called",
                "judgement.in_doubt() if self._recorder.has_recorded else judgement",
                "judgement",
            ),
        ),
        tests=(f"{RECORDING}test_d6_a_body_that_has_recorded_and_then_says_no_is_in_doubt",),
    ),
    Reversal(
        letter="D7",
        hole="Receivers overwrite at every publish: what a sweep or another saga's worker sends runs for its tenant.",
        taken_away="the row's headers are laid over the message after all receivers",
        edits=(
            Edit(
                "sagas/engine/carrying.py::_Producer::publish",
                "laid = self._carrying.lay(self._name, body, headers)",
                "laid = dict(headers)",
            ),
        ),
        tests=(
            f"{HEADERS}test_d7_a_receiver_that_is_connected_last_does_not_overwrite_them",
            f"{HEADERS}test_d7_what_a_sweep_sends_carries_them",
        ),
    ),
    Reversal(
        letter="D8",
        hole="A message that an old worker sent has no tenant: its step runs in `public`, without a word.",
        taken_away="the claim compares the message's headers with the row's",
        edits=(
            Edit(
                "sagas/store/statements.py::TAKEN",
                "told.headers ->> 'digest' <> coalesce(%(digest)s, '')",
                "told.headers ->> 'digest' <> coalesce(%(digest)s, '') AND false",
            ),
        ),
        tests=(f"{HEADERS}test_d8_a_message_without_its_sagas_headers_runs_nothing_and_is_sent_again_with_them",),
    ),
    Reversal(
        letter="D12",
        hole="A charge whose process was killed after it cannot be refunded: its id went with the process.",
        taken_away="what an action has recorded fills its undo",
        edits=(
            Edit(
                f"{RUNNING}::Run::_read",
                "recorded = [] if self._is_action else self._recorder.all()",
                "recorded: list[Any] = []",
            ),
        ),
        tests=(f"{RECORDING}test_d12_a_kill_after_the_record_leaves_it_to_the_undo",),
    ),
    Reversal(
        letter="D12",
        hole="An execution that was taken for dead charges after its undo, and nobody hears of it before it ends.",
        taken_away="what is recorded without a claim is told at once",
        edits=(
            Edit(
                "sagas/engine/recorder.py::Recorder::record",
                "self._token, encoded):\n    self._report()",
                "self._token, encoded):\n    return",
            ),
        ),
        tests=(
            "tests/integration/test_late_successes.py::"
            "test_d12_what_is_recorded_without_a_claim_is_kept_and_undone_at_once",
        ),
    ),
    Reversal(
        letter="D13",
        hole="A step of which only a person can tell whether it happened is undone as if it had.",
        taken_away="in doubt it waits for an answer",
        edits=(
            Edit(
                f"{UNDOING}::only_a_person_can_tell",
                "return plan_step.if_in_doubt is IfInDoubt.PERSON and is_in_doubt(action)",
                "return False",
            ),
        ),
        tests=(
            f"{DOUBT_RULES}test_d13_a_step_of_which_only_a_person_can_tell_is_left_and_the_others_are_undone",
            f"{DOUBT_RULES}test_d13_without_a_compensation_there_are_answers_and_no_retry",
        ),
    ),
    Reversal(
        letter="D13",
        hole='With if_undo_fails="stop" a question to a person keeps back the undos that need no answer.',
        taken_away="what waits for an answer does not count as an undo that failed",
        edits=(
            Edit(
                f"{UNDOING}::settle_backward",
                "draft.plan.stop_at_failed_undo and not all(map(waits_for_an_answer, failed))",
                "draft.plan.stop_at_failed_undo and bool(failed)",
            ),
        ),
        tests=(f"{DOUBT_RULES}test_d13_it_keeps_nothing_back_where_a_failed_undo_would",),
    ),
    Reversal(
        letter="D16",
        hole="An exception that raises when it is looked at makes judging fail: its failure is not recorded, the claim "
        "counts as a loss, and the action runs again.",
        taken_away="whatever goes wrong in a look is no sign",
        edits=(
            Edit(
                f"{SIGNS}::unharmed",
                "except BaseException:  # even SystemExit",
                "except ArithmeticError:  # even SystemExit",
            ),
            Edit(
                f"{JUDGE}::judge",
                "except BaseException as broken:\n    message = f",
                "except ArithmeticError as broken:\n    message = f",
            ),
        ),
        tests=(f"{DESCRIBING}test_d16_an_exception_that_cannot_be_looked_at_is_judged_nevertheless",),
    ),
    Reversal(
        letter="D16",
        hole="A soft limit that strikes while an exception is looked at is swallowed: the hang counts as a slip.",
        taken_away="a limit that strikes meanwhile is the timeout",
        edits=(
            Edit(
                f"{JUDGE}::judge",
                "describe(limit, step, redact), Verdict.TIMEOUT)",
                "describe(limit, step, redact), Verdict.UNKNOWN)",
            ),
        ),
        tests=(f"{DESCRIBING}test_d16_a_time_limit_that_strikes_while_it_is_judged_is_the_timeout",),
    ),
    Reversal(
        letter="D17",
        hole="stripe's lost connection says `should_retry=False` by default: taken for a veto it is not tried again.",
        taken_away="a positive sign adds, a negative one never removes",
        edits=(
            Edit(
                f"{SIGNS}::signs_of",
                "is_lost=is_lost,",
                'is_lost=is_lost and plain(error, "should_retry") is not False,',
            ),
        ),
        tests=(f"{JUDGING}test_d17_what_a_client_says_against_another_try_takes_none_away",),
    ),
    Reversal(
        letter="D17",
        hole="`code=500` of a domain's error is taken for an HTTP status: its refusal becomes doubt.",
        taken_away="a code is a status only beside a response or of a known client",
        edits=(
            Edit(
                f"{SIGNS}::http_status",
                "if response is not None or not KEEP_STATUS_IN_CODE.isdisjoint(lineage(error)):",
                "if response is not None or lineage(error):",
            ),
        ),
        tests=(f"{JUDGING}test_d17_what_need_not_be_an_http_status_is_not_taken_for_one",),
    ),
    Reversal(
        letter="D17",
        hole="One lost connection in a group has the others run again that were refused, or have acted.",
        taken_away="a group is tried again only if every member is",
        edits=(
            Edit(
                f"{JUDGE}::is_again",
                "return all(is_again(member, policy, depth - 1) for member in grouped)",
                "return any(is_again(member, policy, depth - 1) for member in grouped)",
            ),
        ),
        tests=(f"{JUDGING}test_d17_a_group_is_tried_again_if_every_member_is_and_is_never_clean",),
    ),
    Reversal(
        letter="D35",
        hole="A body that raises `BindingError` itself, of a start within it say, is taken for one that never began.",
        taken_away="from the body on the class of an error proves nothing",
        edits=(
            Edit(
                f"{RUNNING}::Run::_called",
                "judgement = judge(error, self._policy, step.name, delivery.redact, clean)",
                "judgement = judge(error, self._policy, step.name, delivery.redact, clean)\n"
                "if isinstance(error, BindingError | RowDamaged):\n"
                "    judgement = judgement.by_place()",
            ),
        ),
        tests=(
            "tests/integration/test_doubt.py::test_d35_an_error_of_the_librarys_own_that_a_body_raises_is_in_doubt",
        ),
    ),
)
