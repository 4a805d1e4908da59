"""D4, D11, D27: plans that another release reads, and what they say of arguments and results."""

from tests.holes.reversal import Edit, Reversal

MODEL = "tests/unit/model/"
INPUTS = "tests/integration/test_inputs.py"
SECRETS = "tests/integration/test_secrets.py"

PLANS = (
    Reversal(
        letter="D4",
        hole="A worker of the last release drops the fields of a plan that it does not know, fills `account` from the "
        "data instead of from `source`, and moves money on another account.",
        taken_away="a step that means something else without a field is stored so that old releases cannot read it",
        edits=(
            Edit(
                "sagas/model/plan.py::PlanStep::to_json",
                'stored["kind"] = with_needs(self.kind, self.needs)',
                'stored["kind"] = self.kind',
            ),
        ),
        tests=(
            f"{MODEL}test_releases.py::test_d4_the_last_release_cannot_read_a_plan_that_it_would_misunderstand",
            f"{MODEL}test_releases.py::test_d4_nor_a_parent_of_such_a_saga",
        ),
    ),
    Reversal(
        letter="D4",
        hole="The next release adds a field that changes what a step does, and this one drops it without a word.",
        taken_away="a stored name that is unknown here is refused",
        edits=(
            Edit(
                "sagas/model/releases.py::known_fields",
                'raise NewerRelease(f"{what} has {name!r:.80}, which this release does not know")',
                "continue",
            ),
        ),
        tests=(f"{MODEL}test_releases.py::test_d4_a_name_that_nobody_here_knows_is_refused",),
    ),
    Reversal(
        letter="D11",
        hole="A new field that is stored by default gives every saga another fingerprint under its old version: "
        "`PlanChanged` at every start after the upgrade.",
        taken_away="what is as it is by default is left out of the plan",
        edits=(
            Edit(
                "sagas/model/plan.py::PlanStep::to_json",
                "if name in _ALWAYS_STORED or getattr(self, name) != described.default",
                "",
            ),
        ),
        tests=(
            "tests/unit/definition/test_fingerprints.py::test_d11_a_plan_of_the_last_release_keeps_its_fingerprint",
        ),
    ),
    Reversal(
        letter="D4",
        hole="A worker of the last release claims a step of a plan that it cannot read. Such claims are losses, and "
        "after a few of them the saga turns back though nothing of it ever ran.",
        taken_away="a message says what its reader has to know, so old releases drop it before they claim",
        edits=(
            Edit(
                "sagas/engine/messages.py::Messages::headers_and_name",
                "{ADDRESS_HEADER: with_needs(str(address), plan.needs)}",
                "{ADDRESS_HEADER: str(address)}",
            ),
        ),
        tests=(
            "tests/unit/engine/test_messages.py::test_d4_a_message_says_what_whoever_claims_its_step_has_to_know",
            f"{INPUTS}::test_d4_a_worker_of_the_last_release_leaves_such_a_saga_alone",
        ),
    ),
    Reversal(
        letter="D27",
        hole="`{'charge': {'card_number': …}}` is stored in the clear: only names at the top level were secret.",
        taken_away="a result is sealed before it is nested under its name",
        edits=(
            Edit(
                "sagas/model/secrecy.py::Secrecy::dumps",
                "value if under in self.names else self._seal(value, what)}",
                "value}",
            ),
        ),
        tests=(
            f"{MODEL}test_secrecy.py::test_d27_a_result_under_one_name_is_sealed_before_it_is_nested",
            f"{SECRETS}::test_d27_a_result_under_one_name_is_as_secret_as_one_that_is_merged[encrypted]",
        ),
    ),
    Reversal(
        letter="D27",
        hole="`{'charge': {'card_number': …}}` is shown in the clear in timelines, the admin and the command line.",
        taken_away="fields of a result under one name are hidden like those at the top level",
        edits=(
            Edit(
                "sagas/model/secrecy.py::Secrecy::hide", "else self._hidden_within(item) for name", "else item for name"
            ),
        ),
        tests=(f"{MODEL}test_secrecy.py::test_d27_its_secrets_are_hidden_and_taken_out_of_texts",),
    ),
    Reversal(
        letter="D27",
        hole="A constant for a secret lies in the plan, which is stored as it is and shown in graphs.",
        taken_away="a constant for a secret name is refused",
        edits=(
            Edit(
                "sagas/definition/step.py::Step::compile",
                "refuse_secret_constants(inputs, compiler.secrets, who)",
                "pass",
            ),
        ),
        tests=("tests/unit/definition/test_inputs.py::test_d27_a_constant_for_a_secret_is_refused_and_not_told",),
    ),
    Reversal(
        letter="D27",
        hole="The compensation fills `account` by its own name: the money goes back to another account than that from "
        "which it came.",
        taken_away="a compensation gets what its action got",
        edits=(
            Edit(
                "sagas/model/plan.py::PlanStep::inputs_for",
                "(self.inputs, round_ > 0) if round_ == 0 or self.undo_inputs is None else (self.undo_inputs, False)",
                "(self.inputs if round_ == 0 else self.undo_inputs or (), False)",
            ),
        ),
        tests=(f"{INPUTS}::test_d27_its_compensation_gets_what_it_got_and_what_it_returned",),
    ),
    Reversal(
        letter="D11",
        hole="A step of a task class gets a telling name, and with it its saga another plan under its old version: "
        "`PlanChanged` at every start as long as an instance of the last release is in flight.",
        taken_away="while a former plan is in flight new instances start with it",
        edits=(
            Edit(
                "sagas/definition/saga.py::Saga::_plan_to_start",
                "former = self.former_plan(engine)\nif former is None:",
                "former: Plan | None = None\nif former is None:",
            ),
        ),
        tests=(
            "tests/integration/test_releases.py::test_d11_what_the_last_release_has_started_starts_under_its_version",
        ),
    ),
    Reversal(
        letter="D33",
        hole="A worker that does not start tells of the first step alone; mended, it tells of the next one.",
        taken_away="what is refused does not keep the rest from being looked at",
        edits=(
            Edit("sagas/definition/checks.py::Problems::noted", "self._found.setdefault(str(error), error)", "raise"),
        ),
        tests=("tests/unit/definition/test_refusals.py::test_d33_a_definition_error_tells_of_all_steps_at_once",),
    ),
)
