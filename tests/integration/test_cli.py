"""`celery -A … sagas …` as an operator runs it: real processes, their exit codes, and no tracebacks."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from click.testing import Result

from sagas import Pivot, Retriable, Saga, SagaHandle, SagaStatus
from sagas.cli import sagas as group
from sagas.model import Address, ErrorInfo, Failed, Tick, Verdict
from tests.conftest import Shop
from tests.support import forked, scripted
from tests.support.bench import FIRST, Bench
from tests.support.commands import runner
from tests.support.inline import run_messages
from tests.support.workers import ROOT

Run = Callable[..., forked.Done]


def command(database_url: str, broker_url: str, application: str = "tests.support.application") -> Run:
    environment = {"SAGAS_DATABASE_URL": database_url, "SAGAS_BROKER_URL": broker_url, "PYTHONPATH": str(ROOT)}

    def run(*arguments: str, **more: str) -> forked.Done:
        words = ["celery", "-A", application, "sagas", *arguments]
        done = forked.run(words, env=os.environ | environment | more, cwd=ROOT)
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def cli(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line of the test's own application."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    return command(shop.database_url, shop.broker_url)


@pytest.fixture
def completed(shop: Shop, cli: Run) -> SagaHandle:
    run = shop.start(scripted.three, key="order-1")
    run_messages(shop.sagas.app)
    assert run.status is SagaStatus.COMPLETED
    return run


@pytest.fixture
def failed(shop: Shop) -> SagaHandle:
    """One whose compensation has failed for good."""
    run = shop.start(scripted.three, key="order-2")
    rows = Bench(shop.database_url, shop.sagas.engine.store)
    plan = shop.sagas.engine.store.instances.plan(scripted.three.plan(shop.sagas.engine).fingerprint, None)
    rows.step(run.id, plan)
    run.cancel("changed mind")
    undo = Address(0, 0, 1)
    for _ in range(20):
        if run.status is SagaStatus.FAILED:
            break
        token = uuid4()
        assert rows.claim(run.id, undo, token=token) is not None
        error = ErrorInfo(type="builtins.ValueError", message="the stock is locked", step="a")
        rows.apply(run.id, Failed(address=undo, token=token, error=error, verdict=Verdict.RETRYABLE))
    assert run.status is SagaStatus.FAILED
    return run


def test_migrate_applies_once_and_says_so(database_url: str, broker_url: str) -> None:
    cli = command(database_url, broker_url)

    first, second = cli("migrate"), cli("migrate")

    assert (first.returncode, first.stdout.splitlines()[0]) == (0, "applied 0001_initial.sql")
    assert (second.returncode, second.stdout.strip()) == (0, "schema 'sagas' is up to date")


def test_without_tables_every_command_says_how_to_make_them(database_url: str, broker_url: str) -> None:
    cli = command(database_url, broker_url)
    for arguments in (["list"], ["show", str(uuid4())], ["sweep"]):
        done = cli(*arguments)

        assert done.returncode == 1
        assert "sagas migrate" in done.stderr


def test_without_a_database_every_command_says_so(broker_url: str) -> None:
    done = command("postgresql://nobody@/nowhere?host=/nonexistent", broker_url)("list")

    assert done.returncode == 1
    assert "the database cannot be reached" in done.stderr


def test_list_shows_the_newest_first_and_filters(shop: Shop, cli: Run, completed: SagaHandle) -> None:
    waiting = shop.start(scripted.pivoted)

    lines = cli("list").stdout.splitlines()
    short = [line.split()[0] for line in lines]
    assert [str(waiting.id).startswith(short[0]), str(completed.id).startswith(short[1])] == [True, True]
    assert lines[1].split()[1:3] == ["completed", "three/order-1"]
    assert lines[1].endswith(" UTC")
    assert cli("list", "--status", "pending").stdout.split()[0] == short[0]
    assert cli("list", "--saga", "three", "--limit", "1").stdout.split()[0] == short[1]
    nothing = cli("list", "--saga", "nothing")
    assert (nothing.stdout, nothing.stderr) == ("", "no instance fits\n")


def test_list_filters_as_the_method_does(shop: Shop, cli: Run, completed: SagaHandle) -> None:
    waiting = shop.start(scripted.pivoted)

    assert cli("list", "--key", "order-1").stdout.split()[0] == str(completed.id)[:18]
    assert cli("list", "--text", "order").stdout.split()[0] == str(completed.id)[:18]
    assert cli("list", "--step", scripted.pivoted.steps[0].name).stdout.split()[0] == str(waiting.id)[:18]
    assert cli("list", "--older-than", "1h").stdout == ""


def test_a_list_says_beside_it_how_to_go_on(shop: Shop, cli: Run, completed: SagaHandle) -> None:
    shop.start(scripted.pivoted)

    first = cli("list", "--limit", "1")
    said, _, after = first.stderr.strip().rpartition(" ")
    second = cli("list", "--limit", "1", after)

    assert (said, len(first.stdout.splitlines())) == ("1 more:", 1)
    assert (second.stdout.split()[0], second.stderr) == (str(completed.id)[:18], "")
    assert "unchanged" in cli("list", "--after", "elsewhere").stderr


def test_list_as_json_is_one_object_a_line(cli: Run, completed: SagaHandle) -> None:
    (row,) = [json.loads(line) for line in cli("list", "--json").stdout.splitlines()]

    assert (row["id"], row["status"], row["key"]) == (str(completed.id), "completed", "order-1")


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--status", "lost"],
        ["cancel", "x"],
        ["dance"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_by_exit_code_2(cli: Run, arguments: list[str]) -> None:
    done = cli(*arguments)

    assert done.returncode == 2
    assert "Error:" in done.stderr


def test_show_tells_the_story_of_an_instance(cli: Run, completed: SagaHandle) -> None:
    text = cli("show", str(completed.id)).stdout

    for told in ("three", "v1", str(completed.id), "order-1"):
        assert told in text.splitlines()[0]
    assert "completed" in text.splitlines()[0].lower()
    for event in ("started", "step_started", "step_completed", "completed"):
        assert event in text
    shown = json.loads(cli("show", str(completed.id), "--json").stdout)
    assert shown["status"] == "completed"
    assert [step["name"] for step in shown["steps"]] == ["a", "b", "c"]
    assert shown["data"]["a_done"] == 1
    assert shown["history"][0]["event"] == "started"


def test_show_says_why_an_instance_failed(cli: Run, failed: SagaHandle) -> None:
    text = cli("show", str(failed.id)).stdout

    lines = [line.strip() for line in text.splitlines()]
    assert lines[1] == "needs a person: compensation of a: builtins.ValueError: the stock is locked"
    assert lines[2] == "turned back because of sagas.Cancelled: changed mind"
    assert "the stock is locked" in text
    assert "needs_a_person" in text


@pytest.mark.parametrize(
    ("verb", "id_"),
    [
        ("show", "order-1"),
        ("show", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ("cancel", "01890a5d-ac96-774b-bcce-b302099a8057"),
    ],
)
def test_what_is_not_there_is_told_by_exit_code_1(cli: Run, verb: str, id_: str) -> None:
    reason = [] if verb == "show" else ["--reason", "why not"]
    done = cli(verb, id_, *reason)

    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert id_ in done.stderr


def test_cancel_cancels_with_the_reason_and_who_asked(shop: Shop, cli: Run) -> None:
    run = shop.start(scripted.three)

    done = cli("cancel", str(run.id), "--reason", "the customer called")

    assert (done.returncode, done.stdout.strip()) == (0, f"{run.id} is compensated")
    (entry,) = [entry for entry in run.history() if entry.event == "stop_requested"]
    assert entry.detail["reason"] == "the customer called"
    assert entry.detail["by"] not in ("", "application")


def test_cancel_of_what_is_completed_is_refused(cli: Run, completed: SagaHandle) -> None:
    done = cli("cancel", str(completed.id), "--reason", "too late")

    assert done.returncode == 1
    assert "is completed and cannot be cancelled" in done.stderr
    assert completed.status is SagaStatus.COMPLETED


def test_an_empty_reason_is_refused(cli: Run, completed: SagaHandle) -> None:
    done = cli("cancel", str(completed.id), "--reason", "  ")

    assert done.returncode == 2
    assert "a reason is required" in done.stderr


def test_retry_lets_a_failed_instance_go_on(shop: Shop, cli: Run, failed: SagaHandle) -> None:
    done = cli("retry", str(failed.id), "--reason", "the stock is unlocked")

    assert (done.returncode, done.stdout.strip()) == (0, f"{failed.id} is compensating")
    run_messages(shop.sagas.app)
    assert failed.wait(0) is SagaStatus.COMPENSATED
    assert shop.effects(failed) == ["undo a"]


def test_retry_of_what_goes_well_is_refused(cli: Run, completed: SagaHandle) -> None:
    done = cli("retry", str(completed.id), "--reason", "for fun")

    assert done.returncode == 1
    assert "only a failed saga can" in done.stderr


def test_skip_lets_a_failed_instance_go_on_past_its_compensation(shop: Shop, cli: Run, failed: SagaHandle) -> None:
    done = cli("skip", str(failed.id), "--reason", "put back by hand")

    assert (done.returncode, done.stdout.strip()) == (0, f"{failed.id} is compensated")
    (entry,) = [entry for entry in failed.history() if entry.event == "skip_requested"]
    assert (entry.step, entry.detail["reason"]) == ("a", "put back by hand")
    assert entry.detail["by"] not in ("", "operator")
    assert failed.steps[0].compensation_status == "skipped"


@pytest.fixture
def here(shop: Shop) -> Callable[..., Result]:
    """The same commands in this process, as a framework's own command line runs them."""

    def run(*arguments: str) -> Result:
        return runner().invoke(group, arguments, obj=SimpleNamespace(app=shop.sagas.app))

    return run


@pytest.fixture
def stuck(shop: Shop) -> SagaHandle:
    """One whose pivot is in doubt, and whose next step requires what it returns."""
    saga = Saga("stuck", steps=[Pivot(scripted.act, name="p"), Retriable(scripted.pass_on)])
    run = shop.start(saga)
    rows, token = Bench(shop.database_url, shop.sagas.engine.store), uuid4()
    assert rows.claim(run.id, FIRST, token=token) is not None
    error = ErrorInfo(type="builtins.TimeoutError", message="no answer", step="p")
    rows.apply(run.id, Failed(address=FIRST, token=token, error=error, verdict=Verdict.UNKNOWN))
    rows.apply(run.id, Tick())
    assert run.status is SagaStatus.FAILED
    return run


def test_skip_takes_the_step_and_the_result_that_it_would_have_returned(
    shop: Shop, here: Callable[..., Result], stuck: SagaHandle
) -> None:
    done = here("skip", str(stuck.id), "--reason", "it was sent", "--step", "p", "--result", '{"gift": ["4711", 1.5]}')

    assert (done.exit_code, done.output.strip()) == (0, f"{stuck.id} is running")
    run_messages(shop.sagas.app)
    assert stuck.wait(0) is SagaStatus.COMPLETED
    assert stuck.data["passed"] == ["4711", 1.5]


def test_skip_refuses_what_cannot_be_meant(here: Callable[..., Result], stuck: SagaHandle) -> None:
    for option, value, code, says in (
        ("--result", "{", 2, "not valid JSON"),
        ("--result", '["4711"]', 2, 'it must be a JSON object, as in {"shipment_id": "4711"}'),
        ("--result", "4711", 2, "it must be a JSON object"),
        ("--result", '{"a": NaN}', 1, "result['a'] is nan"),
        ("--result", '{"a": "\\u0000"}', 1, "result['a']"),
        ("--step", "tests.support.scripted.pass_on", 1, "is failed and cannot skip tests.support.scripted.pass_on"),
        ("--step", "", 1, "is failed and cannot skip"),
    ):
        done = here("skip", str(stuck.id), "--reason", "it was sent", option, value)

        assert (done.exit_code, says in done.stderr) == (code, True), (value, done.stderr)
        assert "Traceback" not in done.output
    assert stuck.status is SagaStatus.FAILED


def test_skip_needs_a_reason(here: Callable[..., Result], stuck: SagaHandle) -> None:
    assert "Missing option '--reason'" in here("skip", str(stuck.id)).stderr
    assert "a reason is required" in here("skip", str(stuck.id), "--reason", " ").stderr
    assert stuck.status is SagaStatus.FAILED


def test_skip_of_what_has_not_failed_or_is_not_there_is_refused(shop: Shop, here: Callable[..., Result]) -> None:
    run = shop.start(scripted.three)
    told = here("skip", str(run.id), "--reason", "why not")
    assert (told.exit_code, "is pending and cannot skip its step" in told.stderr) == (1, True)

    missing = str(uuid4())
    told = here("skip", missing, "--reason", "why not")
    assert (told.exit_code, missing in told.stderr) == (1, True)


def test_sweep_says_how_many_it_moved(shop: Shop, cli: Run) -> None:
    run = shop.start(scripted.three)
    shop.sagas.engine.store.lines.put_back(run.id, FIRST)

    assert cli("sweep").stdout.strip() == "moved 1"
    assert cli("sweep").stdout.strip() == "moved 0"


def test_check_is_content_with_the_defaults_and_not_with_everything(cli: Run) -> None:
    good = cli("check")
    assert (good.returncode, good.stdout.strip()) == (0, "no problems found")

    bad = cli("check", SAGAS_TEST_SETTINGS="task_always_eager=1 worker_prefetch_multiplier=99")
    assert bad.returncode == 1
    assert "task_always_eager" in bad.stdout
    assert "worker_prefetch_multiplier=99" in bad.stdout


def test_d14_check_notes_a_pivot_without_clean_errors_and_finds_no_fault_in_it(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "noted_app.py").write_text(
        "import os\n"
        "from celery import Celery\n"
        "from sagas import Pivot, Saga, Sagas\n"
        "app = Celery('noted', broker='memory://')\n"
        "sagas = Sagas(app, database=os.environ['SAGAS_DATABASE_URL'])\n"
        "@app.task\n"
        "def ship() -> None: ...\n"
        "shipping = Saga('shipping', steps=[Pivot(ship)])\n"
    )

    done = command(shop.database_url, shop.broker_url, "noted_app")("check", PYTHONPATH=f"{tmp_path}:{ROOT}")

    assert done.returncode == 0
    (note,) = done.stdout.splitlines()
    assert note.startswith("saga 'shipping': the pivot 'ship' names no clean errors")


def test_an_app_without_sagas_is_told_what_to_add(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "bare_app.py").write_text("from celery import Celery\napp = Celery('bare')\n")
    cli = command(shop.database_url, shop.broker_url, "bare_app")

    done = cli("list", PYTHONPATH=f"{tmp_path}:{ROOT}")

    assert done.returncode == 1
    assert "add `sagas = Sagas(app, database=…)` to its module" in done.stderr


def test_every_command_explains_itself() -> None:
    command_line = runner()
    for name, shown in group.commands.items():
        result = command_line.invoke(group, [name, "--help"])
        assert result.exit_code == 0
        assert shown.help, name
        for parameter in shown.params:
            assert getattr(parameter, "help", "") or parameter.name in ("instance", "limit", "name"), (
                name,
                parameter.name,
            )
