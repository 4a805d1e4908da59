"""Dead letters: listed, delivered again or let go, one by one or many, in the API and on the command line."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sagas import (
    ConfigurationError,
    DeadLetter,
    LetterAnswer,
    LetterKind,
    PayloadError,
    SagaHandle,
    SagaStatus,
    StepStatus,
)
from sagas.cli import sagas as group
from tests.conftest import Shop
from tests.support import gates, journal
from tests.support.choreographed import Charged, Noted, Ordered, ring
from tests.support.workers import eventually, running


@pytest.fixture(scope="module")
def ring_shop(own_shop: Shop) -> Iterator[Shop]:
    """A shop whose worker knows the choreography."""
    with running(own_shop.worker("-c", "4", "-I", "tests.support.choreographed")):
        engine = own_shop.sagas.engine
        eventually(lambda: engine.store.runs.whole_graph(ring.plan(engine)), "the graph to be registered", 60)
        yield own_shop


def start(shop: Shop, script: dict[str, Any]) -> SagaHandle:
    return ring.start_on(shop.sagas.engine, Ordered(script=script))


def note(shop: Shop, run: SagaHandle, number: int, script: dict[str, Any] | None = None) -> None:
    ring.publish_on(shop.sagas.engine, Noted(script=script or {}, number=number), run=run)


def letters(shop: Shop, run: SagaHandle, **filters: Any) -> list[DeadLetter]:
    return [letter for letter in shop.sagas.dead_letters.list(choreography="ring", **filters) if letter.run == run.id]


def notes(run: SagaHandle) -> list[StepStatus]:
    return [step.status for step in run.steps if step.name == "note"]


def test_a_letter_is_found_by_its_id_however_many_its_run_has(ring_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(ring_shop, {"ship": "no"})
    note(ring_shop, run, 1, {"note 1": "no"})
    eventually(lambda: len(letters(ring_shop, run)) == 2, "two letters")
    both = letters(ring_shop, run)
    monkeypatch.setattr("sagas.handle.dead_letters.MOST_LETTERS", 1)

    assert [ring_shop.sagas.dead_letters.get(letter.id).id for letter in both] == [letter.id for letter in both]


def test_e2_a_dead_letter_holds_later_events_of_its_run_alone_and_a_replay_lets_them_go_in_order(
    ring_shop: Shop,
) -> None:
    run, other = start(ring_shop, {"ship": "wait:harbour"}), start(ring_shop, {"ship": "wait:harbour"})
    note(ring_shop, run, 1, {"note 1": ["no", "ok"]})
    for number in (2, 3):
        note(ring_shop, run, number)
    note(ring_shop, other, 1)
    eventually(lambda: letters(ring_shop, run, handler="note"), "the letter", 60)
    eventually(lambda: notes(other) == [StepStatus.COMPLETED], "the other run", 60)

    (letter,) = letters(ring_shop, run, handler="note")
    assert (letter.kind, letter.type, letter.held, letter.in_doubt) == (LetterKind.DEAD, "Noted", 2, False)
    assert letter.payload == {"script": {"note 1": ["no", "ok"]}, "number": 1}
    assert letter.error is not None
    assert notes(run) == [StepStatus.FAILED, StepStatus.HELD, StepStatus.HELD]
    assert f"wait for event {letter.number}, which is a dead letter" in " ".join(run.timeline().split())
    waits = [step.waits for step in run.steps if step.name == "note"]
    assert waits == [None, *[f"waits for event {letter.number}, which is a dead letter"] * 2]

    (outcome,) = ring_shop.sagas.dead_letters.replay(letter, reason="mended")
    assert outcome.answer is LetterAnswer.DONE
    eventually(lambda: notes(run) == [StepStatus.COMPLETED] * 3, "the notes", 60)
    assert [what for what in ring_shop.effects(run) if what.startswith("note")] == ["note 1", "note 2", "note 3"]
    keys = [key for what, key in journal.entries(ring_shop.database_url, run.id) if what == "note 1"]
    assert keys == [f"{letter.event}:note"]

    # E3: a letter that was answered is left alone.
    (again,) = ring_shop.sagas.dead_letters.replay(letter, reason="once more")
    assert (again.answer, again.reason) == (LetterAnswer.CHANGED, "it has changed since it was looked at")
    for waiting in (run, other):
        gates.open_gate(ring_shop.database_url, waiting, "harbour")
        assert waiting.wait(60) is SagaStatus.COMPLETED


def test_e2_an_edit_delivers_another_payload_once_under_its_own_key_and_later_events_follow_in_their_order(
    ring_shop: Shop,
) -> None:
    run = start(ring_shop, {"ship": "wait:harbour"})
    for number in (1, 2, 3):
        note(ring_shop, run, number, {"note 1": "no"} if number == 1 else {})
    eventually(lambda: letters(ring_shop, run, handler="note"), "the letter", 60)
    (letter,) = letters(ring_shop, run, handler="note")

    outcome = ring_shop.sagas.dead_letters.edit(letter, Noted(script={}, number=7), reason="mistyped", by="ann")

    assert outcome.answer is LetterAnswer.DONE
    eventually(lambda: notes(run) == [StepStatus.COMPLETED] * 3, "the notes", 60)
    assert [what for what in ring_shop.effects(run) if what.startswith("note")] == ["note 7", "note 2", "note 3"]
    keys = [key for what, key in journal.entries(ring_shop.database_url, run.id) if what == "note 7"]
    assert keys == [f"{letter.event}:note:1"]
    (told,) = (entry for entry in run.history() if entry.event == "replayed")
    assert (told.detail["by"], told.detail["reason"], told.detail["edited"]) == (
        "ann",
        "mistyped",
        ["number", "script"],
    )
    with ring_shop.sagas.engine.store.database.autocommit() as connection:
        stored = connection.exec_driver_sql("SELECT payload FROM sagas.saga_inbox WHERE event_id = %s", (letter.event,))
        assert stored.scalar() == {"script": {"note 1": "no"}, "number": 1}, "the event itself stays as it is"
    gates.open_gate(ring_shop.database_url, run, "harbour")
    assert run.wait(60) is SagaStatus.COMPLETED


def test_v12_an_edit_of_what_may_have_happened_needs_a_persons_word(ring_shop: Shop) -> None:
    run = start(ring_shop, {"charge": "invalid"})
    assert run.wait(60) is SagaStatus.FAILED
    (letter,) = letters(ring_shop, run)
    assert letter.in_doubt

    refused = ring_shop.sagas.dead_letters.edit(letter, {"script": {}}, reason="mended")
    done = ring_shop.sagas.dead_letters.edit(letter, {"script": {}}, reason="not in their books", vouch="not done")

    assert (refused.answer, done.answer) == (LetterAnswer.REFUSED, LetterAnswer.DONE)
    assert "find out whether it happened, undo it by hand if it did, and vouch for it" in refused.reason
    assert run.wait(60) is SagaStatus.COMPLETED
    (told,) = (entry for entry in run.history() if entry.event == "replayed")
    assert told.detail["vouched"] == "not done"


def test_an_edit_that_does_not_fit_the_event_names_each_wrong_field_and_changes_nothing(ring_shop: Shop) -> None:
    run = start(ring_shop, {"charge": "no"})
    assert run.wait(60) is SagaStatus.FAILED
    (letter,) = letters(ring_shop, run)
    answers = ring_shop.sagas.dead_letters

    for wrong, told in {
        "missing": ({}, "the field 'script' is missing"),
        "unknown": ({"script": {}, "total": 1, "note": 2}, "the field 'note' is unknown; the field 'total' is unknown"),
        "of another type": ({"script": "no"}, "script is a str, not dict"),
        "no fields": ("no", "not an object with fields"),
        "another event": (Ordered(script={}), "pass a dict of the fields of Reserved, as they were in version 1"),
    }.values():
        with pytest.raises(PayloadError, match=told):
            answers.edit(letter, wrong, reason="mended")
    with pytest.raises(ConfigurationError, match="pass 'not done', or leave it out"):
        answers.edit(letter, {"script": {}}, reason="mended", vouch=True)  # type: ignore[arg-type]

    assert letters(ring_shop, run) == [letter]
    assert answers.edit(letter.id, {"script": {}}, reason="mended").answer is LetterAnswer.DONE
    assert answers.edit(letter, {"script": {}}, reason="again").answer is LetterAnswer.CHANGED
    assert run.wait(60) is SagaStatus.COMPLETED


def test_the_command_line_replays_what_its_filters_find(ring_shop: Shop) -> None:
    runs = [start(ring_shop, {"ship": ["no", "ok"]}) for _ in range(3)]
    for run in runs:
        assert run.wait(60) is SagaStatus.FAILED
    ids = {letter.id for run in runs for letter in letters(ring_shop, run)}

    for wrong in ((), (*ids, "--handler", "ship")):
        assert "pass ids, or filters" in run_command(ring_shop, "replay", "--reason", "mended", *wrong).output
    told = run_command(
        ring_shop, "replay", "--choreography", "ring", "--handler", "ship", "--reason", "mended", "--json"
    )

    outcomes = {outcome["id"]: outcome["answer"] for outcome in map(json.loads, told.output.splitlines())}
    assert ids <= outcomes.keys()
    assert {outcomes[id_] for id_ in ids} == {"done"}
    for run in runs:
        assert run.wait(60) is SagaStatus.COMPLETED


def test_the_command_line_edits_what_it_shows(ring_shop: Shop, tmp_path: Path) -> None:
    run = start(ring_shop, {"charge": "invalid"})
    assert run.wait(60) is SagaStatus.FAILED
    (letter,) = letters(ring_shop, run)
    (shown,) = (line.strip() for line in run_command(ring_shop, "show", letter.id).output.splitlines() if "{" in line)
    assert json.loads(shown) == {"script": {"charge": "invalid"}}
    edit = ("edit", letter.id, "--reason", "mended")

    for options, told in (
        ((), "pass --payload or --payload-file"),
        (("--payload", "{"), "not valid JSON"),
        (("--payload", "{}"), "the field 'script' is missing"),
        (("--payload", '{"script": {}}'), "refused: it is in doubt"),
    ):
        refused = run_command(ring_shop, *edit, *options)
        assert refused.exit_code != 0
        assert told in refused.output
    file = tmp_path / "payload.json"
    file.write_text(shown.replace("invalid", "ok"), encoding="utf-8")
    done = run_command(ring_shop, *edit, "--payload-file", str(file), "--vouch", "--json")

    assert json.loads(done.output) == {"id": letter.id, "answer": "done", "reason": ""}
    assert run.wait(60) is SagaStatus.COMPLETED


def test_a_letter_that_is_let_go_lets_later_events_pass_and_its_run_end(ring_shop: Shop) -> None:
    run = start(ring_shop, {"mail Shipped": "no"})
    assert run.wait(60) is SagaStatus.FAILED

    outcomes = ring_shop.sagas.dead_letters.skip(letters(ring_shop, run), reason="told by phone", by="ann")

    assert [outcome.answer for outcome in outcomes] == [LetterAnswer.DONE]
    assert run.wait(60) is SagaStatus.COMPLETED
    assert letters(ring_shop, run) == []
    (told,) = (entry for entry in run.history() if entry.event == "skip_requested")
    assert told.detail == {"reason": "told by phone", "by": "ann"}


def test_an_undo_that_was_given_up_is_a_letter_and_is_replayed_too(ring_shop: Shop) -> None:
    run = start(ring_shop, {"charge": "say:declined", "release": ["invalid"] * 6 + ["ok"]})
    eventually(lambda: letters(ring_shop, run), "the letter", 90)

    (letter,) = letters(ring_shop, run)
    assert (letter.handler, letter.undo, letter.type) == ("reserve", True, "Ordered")
    ring_shop.sagas.dead_letters.replay(letter.id, reason="mended")

    assert run.wait(60) is SagaStatus.COMPENSATED


def test_an_event_that_comes_late_is_a_letter_that_a_person_acknowledges(ring_shop: Shop) -> None:
    run = start(ring_shop, {})
    assert run.wait(60) is SagaStatus.COMPLETED
    ring.publish_on(ring_shop.sagas.engine, Charged(script={}), run=run)
    eventually(lambda: letters(ring_shop, run), "the letter", 60)

    (letter,) = letters(ring_shop, run)
    assert (letter.kind, letter.handler, letter.type, letter.number) == (LetterKind.LATE, None, "Charged", 5)
    (refused,) = ring_shop.sagas.dead_letters.replay(letter, reason="try")
    assert refused.answer is LetterAnswer.REFUSED
    assert "name the one that is to deal with it" in refused.reason
    (done,) = ring_shop.sagas.dead_letters.skip(letter, reason="paid back")
    assert done.answer is LetterAnswer.DONE
    (twice,) = ring_shop.sagas.dead_letters.skip(letter, reason="paid back")

    assert twice.answer is LetterAnswer.CHANGED
    assert letters(ring_shop, run) == []
    assert run.status is SagaStatus.COMPLETED


def test_letters_are_found_by_their_error_and_their_age(ring_shop: Shop) -> None:
    run = start(ring_shop, {"charge": "no"})
    assert run.wait(60) is SagaStatus.FAILED
    (letter,) = letters(ring_shop, run)
    assert letter.error is not None

    assert letters(ring_shop, run, error=letter.error.type) == [letter]
    assert letters(ring_shop, run, error="builtins.KeyError") == []
    assert letters(ring_shop, run, older_than=timedelta(hours=1)) == []
    assert letters(ring_shop, run, handler="ship") == []


def test_pages_hold_every_letter_once_and_say_how_many_follow(ring_shop: Shop) -> None:
    runs = [start(ring_shop, {"charge": "no"}) for _ in range(3)]
    over = start(ring_shop, {})
    assert {run.wait(60) for run in runs} == {SagaStatus.FAILED}
    assert over.wait(60) is SagaStatus.COMPLETED
    for _ in range(2):
        ring.publish_on(ring_shop.sagas.engine, Charged(script={}), run=over)
    eventually(lambda: len(letters(ring_shop, over)) == 2, "the late events", 60)
    found = ring_shop.sagas.dead_letters
    whole = found.list(limit=1_000)
    assert whole.after is None

    pages = [found.list(limit=2)]
    while pages[-1].after is not None:
        assert found.left_after(pages[-1], most=100) == len(whole) - sum(map(len, pages))
        pages.append(found.list(limit=2, after=pages[-1].after))

    assert [letter.id for page in pages for letter in page] == [letter.id for letter in whole]
    assert {LetterKind.DEAD, LetterKind.LATE} <= {letter.kind for letter in whole}
    of_charge = found.list(handler="charge", limit=1)
    assert found.left_after(of_charge, most=1, handler="charge") == 1
    told = run_command(ring_shop, "list", "--limit", "2").output.splitlines()[-1]
    assert told == f"{len(whole) - 2} more: --after={pages[0].after}"
    followed = run_command(ring_shop, "list", "--limit", "2", f"--after={pages[0].after}", "--json").output
    assert json.loads(followed.splitlines()[0])["id"] == whole[2].id


def test_what_names_no_letter_is_refused(ring_shop: Shop) -> None:
    answers = ring_shop.sagas.dead_letters
    with pytest.raises(ConfigurationError, match="is not the id of a dead letter"):
        answers.replay("4711", reason="mended")
    with pytest.raises(ConfigurationError, match="there is no such dead letter"):
        answers.skip("01890a5d-ac96-774b-bcce-b302099a8057:1.0.0", reason="mended")
    with pytest.raises(ConfigurationError, match="pass reason="):
        answers.skip([], reason=" ")
    with pytest.raises(ConfigurationError, match="pass a number from 1 to 1000"):
        answers.list(limit=0)
    with pytest.raises(ConfigurationError, match="pass the `after` of the previous page"):
        answers.list(after="bm9uZQ==")
    with pytest.raises(ConfigurationError, match="pass a timedelta"):
        answers.list(older_than=5)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a NoneType is not the id of a dead letter"):
        answers.replay(None, reason="mended")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["no\0", "\udcff", "x" * 10_000, 7], ids=["NUL", "surrogate", "long", "a number"])
def test_words_that_the_database_cannot_store_are_refused(ring_shop: Shop, text: Any) -> None:
    answers = ring_shop.sagas.dead_letters
    for asked in ("choreography", "handler", "error"):
        with pytest.raises(ConfigurationError, match=f"{asked}=….* must be text without NUL"):
            answers.list(**{asked: text})
    for names in (("ring", text), (text, "ship")):
        with pytest.raises(ConfigurationError, match="must be text without NUL"):
            answers.resume(*names, reason="mended")
    with pytest.raises(ConfigurationError, match="reason"):
        answers.replay([], reason=text)
    with pytest.raises(ConfigurationError, match="by= must be text without NUL"):
        answers.skip([], reason="mended", by=text)


def run_command(shop: Shop, *arguments: str) -> Result:
    return CliRunner().invoke(group, ["dead", *arguments], obj=SimpleNamespace(app=shop.sagas.app))


def test_the_command_line_lists_shows_replays_and_skips(ring_shop: Shop) -> None:
    run = start(ring_shop, {"charge": ["no", "ok"]})
    assert run.wait(60) is SagaStatus.FAILED
    (letter,) = letters(ring_shop, run)

    listed = run_command(ring_shop, "list", "--handler", "charge")
    assert letter.id in listed.output
    assert "dead: ring/charge, event 2 Reserved" in listed.output
    told = run_command(ring_shop, "show", letter.id, "--json")
    assert json.loads(told.output)["payload"] == {"script": {"charge": ["no", "ok"]}}
    shown = run_command(ring_shop, "show", letter.id).output.rstrip().splitlines()
    assert letter.error is not None
    assert shown[-1].strip() == letter.error.traceback.rstrip().splitlines()[-1].strip()

    done = run_command(ring_shop, "replay", letter.id, "--reason", "mended")
    assert (done.exit_code, done.output) == (0, f"{letter.id}  done\n")
    assert run.wait(60) is SagaStatus.COMPLETED
    timeline = " ".join(run.timeline().split())
    assert f"error={letter.error} reason=mended" in timeline
    assert "Traceback" not in timeline

    gone = run_command(ring_shop, "skip", letter.id, "--reason", "mended", "--json")
    assert gone.exit_code == 1
    assert "there is no such dead letter" in gone.output
    assert run_command(ring_shop, "list", "--older-than", "52w").output.strip() == "there are no dead letters"
