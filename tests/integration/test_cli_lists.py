"""What the commands print: lists that fit a terminal, instances by short names, JSON, and why nothing moves."""

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

import sagas.cli
from sagas import SagaHandle, SagaStatus
from sagas.model import ErrorInfo, Misdelivered
from tests.conftest import Shop
from tests.support import journal, scripted, shapes
from tests.support.bench import FIRST, Bench
from tests.support.commands import Here
from tests.support.inline import run_messages


@pytest.fixture
def completed(shop: Shop, here: Here) -> SagaHandle:
    run = shop.start(scripted.three, key="order-1")
    run_messages(shop.sagas.app)
    assert run.status is SagaStatus.COMPLETED
    return run


@pytest.fixture
def failed(shop: Shop, here: Here) -> SagaHandle:
    """One whose compensation has to be done by hand."""
    run = shop.start(shapes.stopping, {"c": "no:sold out", "undo b": "say:manual"}, key="order-2")
    while run_messages(shop.sagas.app) + run_messages(shop.sagas.app, "sagas"):
        pass
    assert run.status is SagaStatus.FAILED
    return run


def test_a_list_says_how_many_more_there_are(shop: Shop, here: Here) -> None:
    for number in range(5):
        shop.start(scripted.three, key=f"more-{number}")

    first = here("list", "--limit", "2")
    assert first.stderr.startswith("3 more: --after=")
    assert len(first.stdout.splitlines()) == 2
    assert here("list", "--limit", "5").stderr == ""
    assert here("list", "--limit", "4", "--json").stderr.startswith("1 more: ")


def test_an_instance_is_known_by_the_beginning_of_its_id_and_by_its_key(
    shop: Shop, here: Here, completed: SagaHandle
) -> None:
    for given in (str(completed.id), str(completed.id)[:18], completed.id.hex[:20].upper(), "three/order-1"):
        shown = here("show", given, "--json")
        assert json.loads(shown.stdout)["id"] == str(completed.id), given

    other = shop.start(scripted.three, key="a/b")
    assert json.loads(here("show", "three/a/b", "--json").stdout)["id"] == str(other.id)
    refused = here("cancel", str(completed.id)[:6], "--reason", "which one?")
    assert (refused.exit_code, "several ids begin with" in refused.stderr) == (1, True)
    for unknown, told in (
        ("three/order-9", "no saga 'three' has an instance with the key 'order-9'"),
        ("ffff", "no saga instance has an id that begins with 'ffff'"),
        ("42", "'42' is not an instance; give an id, the beginning of one, or a saga and its key, as in order/42"),
        ("f" * 40, "is not an instance"),
    ):
        refused = here("show", unknown)
        assert (refused.exit_code, told in refused.stderr) == (1, True), refused.stderr


def test_everything_fits_80_columns_and_is_cut_at_words(shop: Shop, here: Here) -> None:
    run = shop.start(scripted.three, key="a business key of many words that no column of a list has a place for")
    run.cancel("a reason that takes more than a line to tell, as those of people do who have been called at night")

    (line,) = here("list").output.splitlines()
    shown = here("show", str(run.id)).output.splitlines()

    assert len(line) <= 80
    assert "three/a business…" in line
    assert [line for line in shown[1:] if len(line) > 80] == []
    assert "who have been called at night" in " ".join(" ".join(shown).split())
    assert any(line.startswith("  started ") and line.endswith(" UTC") for line in shown)


def test_an_action_speaks_json_with_the_names_of_show(here: Here, failed: SagaHandle) -> None:
    shown = json.loads(here("show", str(failed.id), "--json").stdout)
    done = here("retry", "stopping/order-2", "--reason", "the stock is unlocked", "--json")

    told = json.loads(done.stdout)
    assert (told["id"], told["status"], told["key"]) == (str(failed.id), "compensating", "order-2")
    assert set(told) < set(shown)
    assert shown["headline"][0].startswith("needs a person: compensation of b")


def test_a_message_that_no_worker_takes_is_told_in_words(shop: Shop, here: Here) -> None:
    run = shop.start(scripted.three)
    journal.query(
        shop.database_url, "UPDATE sagas.saga_step SET dispatched_at = now() - interval '1 hour' RETURNING name"
    )

    told = "step 'a' waits in the queue 'celery' since "
    shown, checked = here("show", str(run.id)), here("check")

    assert told in shown.output
    assert json.loads(here("show", str(run.id), "--json").output)["headline"][0].startswith(told)
    assert (checked.exit_code, told in checked.output) == (0, True)
    assert "no living worker consumes it: start one with -Q celery" in checked.output


def test_a_task_that_no_worker_knows_is_told_in_words(shop: Shop, here: Here) -> None:
    run = shop.start(scripted.three)
    error = ErrorInfo(type="celery.exceptions.NotRegistered", message="a worker has no task 'act'", step="a")
    Bench(shop.database_url, shop.sagas.engine.store).apply(run.id, Misdelivered(address=FIRST, error=error))

    shown, checked = here("show", str(run.id)), here("check")

    assert "waits for a deploy: step a cannot be called: celery.exceptions.NotRegistered" in shown.output
    assert "step 'a' cannot be called, in 1 saga: a worker has no task 'act'" in checked.output
    assert checked.exit_code == 0


HOSTILE = "a\x1b[2J\n01a22e7b-dc71-7e99  completed\x9b\u202e"


def test_what_a_terminal_would_obey_is_escaped_in_keys_and_errors(shop: Shop, here: Here) -> None:
    run = shop.start(shapes.stopping, {"c": f"no:sold out {HOSTILE}", "undo b": "say:manual"}, key=HOSTILE)
    while run_messages(shop.sagas.app) + run_messages(shop.sagas.app, "sagas"):
        pass

    listed, shown, waiting = here("list").stdout, here("show", str(run.id)).stdout, here("manual").stdout

    assert len(listed.splitlines()) == 1
    assert "key=a\\u001b[2J\\n01a22e7b-dc71-7e99  completed\\u009b\\u202e  FAILED" in shown
    for printed in (listed, shown, waiting, run.timeline(), here("show", str(run.id), "--json").stdout):
        assert not set(printed) & set("\x1b\x9b\u202e")
    assert json.loads(here("show", str(run.id), "--json").stdout)["key"] == HOSTILE


def test_a_terminal_that_lacks_a_character_gets_its_escape(shop: Shop, here: Here) -> None:
    run = shop.start(scripted.three, key="Zürich → 😀")
    group = sagas.cli.sagas
    latin = CliRunner(charset="latin-1")

    shown, row = (
        latin.invoke(group, words, obj=SimpleNamespace(app=shop.sagas.app))
        for words in (["show", str(run.id)], ["list", "--json"])
    )

    assert "key=Zürich \\u2192 \\ud83d\\ude00  PENDING" in shown.stdout
    assert json.loads(row.stdout)["key"] == "Zürich → 😀"
