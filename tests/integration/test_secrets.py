"""Secret fields: the steps and the application have them; no log, message, event, history or page shows them."""

import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from sagas import SagaHandle, Sagas, SagaStatus, SecretUnreadable, StartRefused, StepStatus
from sagas.cli import sagas as commands
from sagas.signals import saga_event
from tests.support import gates, journal, vault
from tests.support.commands import runner
from tests.support.programs import briefly
from tests.support.vault import ALL, CARD, IBAN, PIN, SIGNED, TAX_ID
from tests.support.worker_events import received_events
from tests.support.workers import Worker, eventually

KEY, NEW_KEY = Fernet.generate_key().decode(), Fernet.generate_key().decode()
ORDER = {"card_number": CARD, "pin": PIN}


@dataclass
class Vault:
    """One application with secrets: in this process, and its workers on demand."""

    sagas: Sagas
    database_url: str
    broker_url: str
    directory: Path
    keys: tuple[str, ...]
    workers: list[Worker] = field(default_factory=list)

    def worker(self, *keys: str, name: str = "worker") -> Worker:
        environment = {
            "SAGAS_DATABASE_URL": self.database_url,
            "SAGAS_BROKER_URL": self.broker_url,
            "VAULT_KEYS": " ".join(keys or self.keys),
        }
        made = Worker(
            environment,
            self.directory / f"{name}.log",
            application="tests.support.vault",
            arguments=("-n", f"{name}@%h", "-c", "2", "-E", "-l", "DEBUG"),
        )
        self.workers.append(made)
        return made

    def start(self, saga: Any = vault.payout, mood: str = "good", **data: Any) -> SagaHandle:
        return self.sagas.start(saga, {**ORDER, "mood": mood, **data})

    def logs(self) -> str:
        return "\n".join(worker.text() for worker in self.workers)

    def effects(self, run: SagaHandle) -> list[str]:
        return journal.effects(self.database_url, run.id)

    def messages(self) -> str:
        """What waits in the broker, bodies decoded."""
        with self.sagas.app.connection_for_read() as connection:
            waiting = [json.loads(stored) for stored in connection.default_channel.client.lrange("celery", 0, -1)]
        assert waiting
        return repr([(message["headers"], base64.b64decode(message["body"])) for message in waiting])

    def dump(self) -> str:
        """Every row of the library's tables."""
        tables = journal.query(self.database_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'sagas'")
        rows = []
        for (table,) in tables:
            rows += journal.query(self.database_url, f"SELECT to_jsonb(t)::text FROM sagas.{table} AS t")
        return "\n".join(text for (text,) in rows)

    def as_people_see_it(self, run: SagaHandle) -> str:
        """The whole of an instance by every door that shows it to people."""
        seen = run.snapshot(history=True)
        told = [seen.timeline(), repr(seen.progress()), repr(seen.steps), repr(seen.history), repr(seen.error)]
        told += [repr(run), repr(self.sagas), repr(seen.shown_data), self.sagas.graph(run, format="svg")]
        told += [entry.detail.get("traceback") or "" for entry in seen.history]
        for command in ("show ID", "show ID --json", "graph ID", "manual", "manual --json", "list", "list --json"):
            done = runner().invoke(commands, command.replace("ID", str(run.id)).split(), obj=self.sagas)
            assert done.exit_code == 0, done.output
            told.append(done.output)
        return "\n".join(told)


@pytest.fixture(params=[(), (KEY,)], ids=["redacted", "encrypted"])
def keys(request: pytest.FixtureRequest) -> tuple[str, ...]:
    found: tuple[str, ...] = request.param
    return found


def opened(database_url: str, broker_url: str, directory: Path, keys: tuple[str, ...]) -> Vault:
    sagas = vault.make(broker_url, database_url, keys)
    sagas.migrate()
    journal.create(database_url)
    return Vault(sagas, database_url, broker_url, directory, keys)


@pytest.fixture
def safe(database_url: str, broker_url: str, tmp_path: Path, keys: tuple[str, ...]) -> Iterator[Vault]:
    """With and without a codec."""
    made = opened(database_url, broker_url, tmp_path, keys)
    yield made
    made.sagas.engine.store.database.dispose()


@pytest.fixture
def locked(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Vault]:
    """With a codec."""
    made = opened(database_url, broker_url, tmp_path, (KEY,))
    yield made
    made.sagas.engine.store.database.dispose()


def leaks(text: str) -> list[str]:
    return [secret for secret in ALL if secret in text]


ENDS = {
    "good": SagaStatus.COMPLETED,
    "flaky": SagaStatus.COMPLETED,
    "interrupts": SagaStatus.COMPLETED,
    "declines": SagaStatus.COMPENSATED,
    "blocked": SagaStatus.COMPENSATED,
    "unstorable": SagaStatus.COMPENSATED,
    "no refund": SagaStatus.FAILED,
}


def test_whatever_becomes_of_a_saga_nobody_is_shown_its_secrets(safe: Vault, caplog: pytest.LogCaptureFixture) -> None:
    announced: list[Any] = []
    saga_event.connect(lambda **told: announced.append(told), weak=False, dispatch_uid="announced")
    caplog.set_level(logging.DEBUG)
    runs = {mood: safe.start(mood=mood) for mood in ENDS}
    messages = safe.messages()
    with received_events(safe.sagas) as heard, briefly(safe.worker()):
        for mood, run in runs.items():
            assert run.wait(40) is ENDS[mood], run.timeline()
        eventually(lambda: [event for event in heard if event["type"] == "task-failed"], "the events of the workers")

    # The steps had them, and the application has them.
    assert safe.effects(runs["good"]) == [f"charge {CARD} {PIN}", f"pay out {IBAN}"]
    assert safe.effects(runs["blocked"])[-1] == f"refund {IBAN} {CARD}"
    data = runs["good"].data
    assert (data["card_number"], data["pin"], data["iban"]) == (CARD, PIN, IBAN)
    # Nobody else: not the broker, the logs, Flower, the history, the command line.
    assert leaks(messages) == []
    assert leaks(safe.logs()) == []
    assert leaks(caplog.text) == []
    assert leaks(json.dumps(heard, default=repr)) == []
    assert {"task-received", "task-succeeded", "task-failed", "task-retried"} <= {event["type"] for event in heard}
    for run in runs.values():
        assert leaks(safe.as_people_see_it(run)) == []
    # The errors are told all the same.
    assert "card '•••' with PIN ••• was declined" in " ".join(runs["declines"].timeline().split())
    assert "was declined" in safe.logs()
    assert runs["good"].steps[0].result == {"iban": "•••", "charge_id": 7, "note": "charged •••"}
    events = journal.query(safe.database_url, "SELECT detail::text FROM sagas.saga_event")
    assert leaks("\n".join(text for (text,) in events)) == []


def test_with_a_codec_no_table_holds_a_secret(locked: Vault) -> None:
    runs = {mood: locked.start(mood=mood) for mood in ("declines", "blocked", "no refund")}
    signing = locked.start(vault.signed, iban=IBAN)
    related = locked.start(vault.family, tax_id=TAX_ID)
    assert signing.signal("signed", {"signature": SIGNED})
    with briefly(locked.worker()):
        for mood, run in runs.items():
            assert run.wait(40) is ENDS[mood], run.timeline()
        assert signing.wait(30) is SagaStatus.COMPLETED
        assert related.wait(30) is SagaStatus.COMPLETED

    stored = locked.dump()
    assert leaks(stored.replace(f"charged {CARD}", "").replace(f"to {IBAN}", "")) == []
    # Signals, children, their results and conditions work with what is sealed.
    assert (signing.data["signature"], locked.effects(signing)) == (SIGNED, [f"pay out {IBAN}"])
    (child,) = journal.query(locked.database_url, "SELECT id FROM sagas.saga_instance WHERE saga = 'assessment'")[0]
    assert locked.effects(locked.sagas.get(child)) == [f"assess {TAX_ID}"]
    assert related.data["tax_id"] == TAX_ID
    assert related.steps[0].result == {"tax_id": "•••"}


def test_d27_a_result_under_one_name_is_as_secret_as_one_that_is_merged(safe: Vault) -> None:
    runs = {mood: safe.start(vault.kept, mood=mood) for mood in ("good", "blocked", "no refund")}
    with received_events(safe.sagas) as heard, briefly(safe.worker()):
        for mood, run in runs.items():
            assert run.wait(40) is ENDS[mood], run.timeline()
        eventually(lambda: [event for event in heard if event["type"] == "task-failed"], "the events of the workers")

    # The steps, their compensations and the application have them.
    assert safe.effects(runs["good"])[-1] == f"settle {IBAN}"
    assert safe.effects(runs["blocked"])[-1] == f"refund {IBAN} {CARD}"
    assert (runs["good"].data["charge"]["iban"], runs["good"].data["signature"]) == (IBAN, SIGNED)
    # Nobody else.
    for run in runs.values():
        assert leaks(safe.as_people_see_it(run)) == []
    assert leaks(safe.logs()) == []
    assert leaks(json.dumps(heard, default=repr)) == []
    assert runs["good"].snapshot().shown_data["charge"] == {"iban": "•••", "charge_id": 7, "note": "charged •••"}
    assert [step.result for step in runs["good"].steps] == [
        {"iban": "•••", "charge_id": 7, "note": "charged •••"},
        "•••",
    ]
    if safe.keys:
        assert leaks(safe.dump().replace(f"charged {CARD}", "")) == []


def test_a_process_with_the_wrong_key_parks_the_step_in_the_open_and_nothing_is_lost(locked: Vault) -> None:
    run = locked.start()
    with briefly(locked.worker(NEW_KEY, name="wrong")):
        eventually(lambda: "parked" in [entry.event for entry in run.history()], "the step to be parked")
    step = run.steps[0]
    assert (run.status, step.status, step.attempts) == (SagaStatus.RUNNING, StepStatus.PENDING, 0)
    assert step.error is not None
    assert step.error.type == "sagas.errors.SecretUnreadable"
    assert "no key here opens it" in step.error.message
    assert locked.effects(run) == []

    with briefly(locked.worker(NEW_KEY, KEY, name="right")):
        # It looks again after a minute; let that be now.
        journal.query(locked.database_url, "UPDATE sagas.saga_step SET not_before = clock_timestamp()")
        journal.query(locked.database_url, "UPDATE sagas.saga_instance SET due_at = clock_timestamp()")
        assert run.wait(30) is SagaStatus.COMPLETED

    # The application has to have both keys now: the input is under the old one, the results under the new one.
    with pytest.raises(SecretUnreadable, match=r"'iban' .* no key here opens it"):
        _ = run.data
    assert run.status is SagaStatus.COMPLETED
    # What the step told in a field that is no secret can only be found with the key.
    assert leaks(locked.as_people_see_it(run).replace(f"to {IBAN}", "")) == []
    both = vault.make(locked.broker_url, locked.database_url, (NEW_KEY, KEY))
    assert both.get(run.id).data["iban"] == IBAN
    both.engine.store.database.dispose()


def test_a_deploy_with_a_new_key_in_front_keeps_what_is_in_flight_going(locked: Vault) -> None:
    run = locked.start(mood="waits")
    with briefly(locked.worker(name="old")):
        gates.until_reached(locked.database_url, run, "charge")
        with briefly(locked.worker(NEW_KEY, KEY, name="new")):
            locked.workers[0].process.terminate()  # type: ignore[union-attr]
            gates.open_gate(locked.database_url, run, "charge")
            assert run.wait(30) is SagaStatus.COMPLETED
    assert locked.effects(run) == [f"charge {CARD} {PIN}", f"pay out {IBAN}"]


def test_encryption_can_be_introduced_and_its_names_can_change(locked: Vault) -> None:
    plain = vault.make(locked.broker_url, locked.database_url)
    before = plain.start(vault.payout, {**ORDER, "mood": "good"})
    with briefly(locked.worker()):
        assert before.wait(30) is SagaStatus.COMPLETED

    assert locked.sagas.get(before.id).data["card_number"] == CARD
    assert leaks(locked.as_people_see_it(locked.sagas.get(before.id))) == []
    plain.engine.store.database.dispose()


def test_what_an_operator_gives_is_kept_as_carefully(locked: Vault) -> None:
    run = locked.start(mood="no refund")
    with briefly(locked.worker()):
        assert run.wait(30) is SagaStatus.FAILED
        run.retry(f"the bank says that {IBAN} is open again")
        assert run.wait(30) is SagaStatus.FAILED
        run.resolve(f"paid back to {IBAN} by hand")
    assert run.status is SagaStatus.COMPENSATED
    reasons = [entry.detail["reason"] for entry in run.history() if "reason" in entry.detail]
    assert "the bank says that ••• is open again" in reasons
    assert "paid back to ••• by hand" in reasons
    assert leaks(locked.as_people_see_it(run)) == []


def test_a_lock_may_not_be_named_after_a_secret(safe: Vault) -> None:
    with pytest.raises(StartRefused, match="would reveal the secret 'tax_id'") as refused:
        safe.start(vault.ledgers, tax_id=TAX_ID)

    assert leaks(str(refused.value)) == []
    assert safe.sagas.list(saga="ledgers") == ()


def test_an_error_of_the_database_does_not_tell_what_was_to_be_stored(safe: Vault) -> None:
    safe.sagas.start(vault.payout, ORDER)
    journal.query(safe.database_url, "ALTER TABLE sagas.saga_instance ADD CHECK (current_user = 'nobody') NOT VALID")

    with pytest.raises(DBAPIError) as own:
        safe.start()
    engine = create_engine(safe.database_url)
    with pytest.raises(DBAPIError) as callers, Session(engine) as session:
        safe.sagas.start(vault.payout, ORDER, session=session)
    engine.dispose()

    for raised in (own, callers):
        said = str(raised.value).partition("DETAIL:")[0] + str(raised.value).partition("[SQL:")[2]
        assert leaks(said) == []
        assert raised.value.params is None or "parameters hidden" in said
