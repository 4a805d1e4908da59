"""What a command counts from history: which errors left actions in doubt, and which would have by today's rule."""

import json
from typing import Any

from celery import shared_task
from click.testing import Result

from sagas import Pivot, Retry, Saga, SagaHandle, Step
from tests.conftest import Shop
from tests.integration.test_manual_queue import work
from tests.support import journal, scripted
from tests.support.commands import Here

ONCE = Retry(max_attempts=1)


class Declined(Exception):
    pass


class ExpiredCard(Declined):
    pass


ERRORS: dict[str, Exception] = {"expired": ExpiredCard("2019"), "lost": ConnectionError("gone"), "slip": KeyError("id")}


@shared_task
def fail(how: str) -> None:
    raise ERRORS[how]


failing = Saga("failing", steps=[Step(fail, compensation=None, retry=ONCE, name="charge")])
#: The same, once it says which errors are clean.
failing_named = Saga(
    "failing-named", steps=[Step(fail, compensation=None, retry=ONCE, name="charge", clean=(Declined,))]
)
shipping = Saga("shipping", steps=[Pivot(fail, retry=ONCE, name="ship")])


def run(shop: Shop, saga: Saga, how: str) -> SagaHandle:
    handle = shop.sagas.start(saga, {"how": how})
    work(shop)
    return handle


def judged_by_the_old_rule(shop: Shop, *handles: SagaHandle) -> None:
    """As the last release has left it: every error that no list knew was a clean no, and nothing says by which rule."""
    change = """
    UPDATE sagas.saga_event SET detail = (detail - 'clean') || '{"verdict": "clean_no"}'
    WHERE event = 'attempt_failed' AND instance_id = %s RETURNING id
    """
    for handle in handles:
        assert journal.query(shop.database_url, change, str(handle.id))


def counts(done: Result) -> list[tuple[Any, ...]]:
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        tuple(row[name] for name in ("kind", "saga", "step", "type", "verdict", "failures", "instances", "doubt"))
        for row in rows
    ]


def named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def test_d14_failures_in_doubt_are_counted_by_step_and_error_with_the_pivots_first(shop: Shop, here: Here) -> None:
    for how in ("expired", "expired", "slip"):
        run(shop, failing, how)
    run(shop, shipping, "slip")

    assert counts(here("doubtful", "--json")) == [
        ("pivot", "shipping", "ship", "builtins.KeyError", "unknown", 1, 1, "is"),
        ("compensatable", "failing", "charge", named(ExpiredCard), "unknown", 2, 2, "is"),
        ("compensatable", "failing", "charge", "builtins.KeyError", "unknown", 1, 1, "is"),
    ]
    first, *_ = here("doubtful").stdout.splitlines()
    assert first.startswith("pivot ")
    assert "shipping/ship  builtins.KeyError (unknown)  1 failure in 1 saga, the last 2" in first
    assert first.endswith("is in doubt")


def test_d14_what_the_old_rule_called_clean_is_counted_as_what_would_be_in_doubt(shop: Shop, here: Here) -> None:
    old = [run(shop, shipping, "slip"), run(shop, shipping, "slip")]
    judged_by_the_old_rule(shop, *old)
    run(shop, shipping, "slip")

    assert [(row[3], *row[5:]) for row in counts(here("doubtful", "--json"))] == [
        ("builtins.KeyError", 2, 2, "would be"),
        ("builtins.KeyError", 1, 1, "is"),
    ]
    assert "2 failures in 2 sagas" in here("doubtful").stdout


def test_d14_what_was_and_is_clean_is_not_counted(shop: Shop, here: Here) -> None:
    # Given: a PermanentError, one of its subclasses, and an error that the step has come to name
    permanent = shop.start(scripted.pivoted, {"p": "no"})
    work(shop)
    run(shop, failing_named, "expired")
    by_name = run(shop, failing_named, "expired")
    judged_by_the_old_rule(shop, permanent, by_name)
    renamed = "UPDATE sagas.saga_event SET detail = detail || %s::jsonb WHERE instance_id = %s RETURNING id"
    other = shop.start(scripted.pivoted, {"p": "no"})
    work(shop)
    judged_by_the_old_rule(shop, other)
    journal.query(shop.database_url, renamed, '{"type": "sagas.errors.PermanentError"}', str(other.id))

    assert counts(here("doubtful", "--json")) == []
    assert here("doubtful").stdout == ""


def test_a_retried_attempt_counts_and_so_does_every_attempt_of_one_saga(shop: Shop, here: Here) -> None:
    shop.start(scripted.three, {"b": ["flaky", "flaky"]})
    work(shop)
    shop.sagas.engine.store.sweeping.look_around()

    ((_, saga, step, type_, verdict, failures, instances, doubt),) = counts(here("doubtful", "--json"))
    assert (saga, step, type_, verdict, instances, doubt) == (
        "three", "b", "builtins.ConnectionError", "retryable", 1, "is"
    )  # fmt: skip
    assert failures >= 1


def test_only_what_is_young_enough_is_counted_and_compensations_are_not(shop: Shop, here: Here) -> None:
    old = run(shop, shipping, "slip")
    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_event SET at = at - interval '3 days' WHERE instance_id = %s RETURNING id",
        str(old.id),
    )
    shop.start(scripted.three, {"c": "no", "undo b": ["invalid"]})
    work(shop)

    assert counts(here("doubtful", "--json", "--since", "2d")) == []
    assert len(counts(here("doubtful", "--json", "--since", "4d"))) == 1
    assert here("doubtful", "--since", "soon").exit_code == 2


def test_a_failed_attempt_says_in_the_history_whether_it_was_clean(shop: Shop, here: Here) -> None:
    doubtful, clean = run(shop, failing_named, "slip"), run(shop, failing_named, "expired")

    for handle, said in ((doubtful, False), (clean, True)):
        (entry,) = [entry for entry in handle.history() if entry.event == "attempt_failed"]
        assert entry.detail["clean"] is said
