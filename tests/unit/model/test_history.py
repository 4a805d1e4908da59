"""The history forgets nothing: what a row told is written down before it is rewritten, and never without need."""

from sagas.model import SagaStatus, Verdict
from sagas.model.history import end_of, notes_of, place_of
from tests.unit.model.story import START, Story, act, pivot, retriable, step, undo


def history(story: Story) -> list[str]:
    """All that is told, in the order of its moments."""
    entries = [note for note in story.notes if note.at is not None]
    entries += [note for row in story.state.steps for note in notes_of(row)]
    entries += end_of(story.state)
    told = [(place_of(note.event, note.at), f"{note.event} {note.step or ''}".strip()) for note in entries if note.at]
    return [text for _, text in sorted(told, key=lambda one: one[0])]


def failed_undo() -> Story:
    story = Story(step(), step()).done(act(0)).refused(act(1))
    story.fail(undo(0), story.claim(undo(0)))
    assert story.status is SagaStatus.FAILED
    return story


def test_a_saga_that_is_undone_writes_no_entry_of_what_its_rows_tell() -> None:
    story = Story(step(), step()).done(act(0)).refused(act(1)).done(undo(0))

    assert story.status is SagaStatus.COMPENSATED
    assert [note.event for note in story.notes] == ["attempt_failed"]


def test_a_retry_leaves_the_first_round_in_the_history() -> None:
    story = failed_undo()
    first_round = history(story)
    assert first_round[-3:] == ["compensation_started step0", "compensation_failed step0", "failed"]

    story.later().retry()
    assert history(story) == first_round
    story.done(undo(0))

    assert history(story) == [*first_round, "compensation_started step0", "compensation_completed step0", "compensated"]


def test_each_end_tells_how_many_attempts_there_had_been_by_then() -> None:
    story = failed_undo()
    story.later().retry()
    story.fail(undo(0), story.claim(undo(0)))
    story.later().retry()
    story.done(undo(0))

    told = [*story.notes, *notes_of(story.row(undo(0)))]
    ends = [note for note in told if note.event in ("compensation_failed", "compensation_completed")]
    assert [note.detail["attempts"] for note in ends] == [1, 2, 3]


def test_a_step_past_the_pivot_that_is_tried_again_has_failed_before() -> None:
    story = Story(pivot(), retriable()).done(act(0))
    story.fail(act(1), story.claim(act(1)))
    story.tick()
    before = history(story)

    story.later().retry()
    story.done(act(1))

    assert history(story) == [*before, "step_completed step1", "completed"]


def test_what_a_person_skips_or_resolves_has_failed_before() -> None:
    skipped, resolved = failed_undo(), failed_undo()
    before = history(skipped)

    skipped.later().skip()
    resolved.later().skip(undone=True)

    assert history(skipped) == [*before, "compensation_skipped step0", "compensated"]
    assert history(resolved) == [*before, "compensation_completed step0", "compensated"]


def test_an_answer_about_an_action_in_doubt_leaves_its_failure_in_the_history() -> None:
    story = Story(pivot())
    story.fail(act(0), story.claim(act(0)), Verdict.UNKNOWN)
    story.tick()
    before = history(story)
    assert before[-2:] == ["step_failed step0", "failed"]

    story.later().resolve(happened=True)

    assert history(story) == [*before, "step_completed step0", "completed"]


def test_a_stray_effect_leaves_the_first_end_in_the_history() -> None:
    story = Story(step(), step()).done(act(0))
    token = story.claim(act(1))
    story.lose(act(1))
    story.refused(act(1)).done(undo(1), undo(0))
    assert story.status is SagaStatus.COMPENSATED
    before = history(story)

    story.later().complete(act(1), token)
    story.done(undo(1, 2))

    assert history(story)[: len(before)] == before
    assert history(story)[-1] == "compensated"
    assert history(story).count("compensated") == 2


def test_what_is_tried_again_begins_after_somebody_has_asked_for_it() -> None:
    events = ["failed", "compensation_started", "step_failed", "retry_requested"]

    assert sorted(events, key=lambda event: place_of(event, START)) == [
        "retry_requested",
        "compensation_started",
        "step_failed",
        "failed",
    ]
