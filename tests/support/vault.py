"""An application whose data holds secrets; they are encrypted if the environment has keys for them."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery, shared_task
from cryptography.fernet import Fernet, MultiFernet

from sagas import Child, PermanentError, Retry, Saga, Sagas, Step, WaitFor, condition, current_step, parallel
from tests.support import gates, journal

#: None of these may be seen anywhere; a name tells a test where one has leaked from.
CARD = "4111-card-1111"
IBAN = "DE89-iban-0130"
PIN = 90210_4711
SIGNED = "signature-of-maria"
TAX_ID = "tax-56-789"
ALL = (CARD, IBAN, str(PIN), SIGNED, TAX_ID)
SECRETS = ("card_number", "iban", "pin", "signature", "tax_id")

QUICK = Retry(max_attempts=3, backoff=0.05, max_backoff=0.1)
QUICK_UNDO = Retry(max_attempts=2, on=(Exception,), backoff=0.05, max_backoff=0.1)


def make(broker_url: str, database_url: str, keys: Sequence[str] = ()) -> Sagas:
    """Make a separate application."""
    app = Celery("tests.support.vault", broker=broker_url, set_as_current=False)
    app.conf.worker_hijack_root_logger = False
    return Sagas(
        app,
        database=database_url,
        heartbeat=0.5,
        sweep_every=0.5,
        secrets=SECRETS,
        codec=MultiFernet([Fernet(key) for key in keys]) if keys else None,
    )


class Declined(PermanentError):
    """A clean no."""


@shared_task
def charge(card_number: str, pin: int, mood: str = "good") -> dict[str, Any]:
    """Write what the body sees into the journal, which belongs to the test."""
    journal.write(f"charge {card_number} {pin}")
    match mood:
        case "declines":
            raise Declined(f"card {card_number!r} with PIN {pin} was declined")
        case "flaky" if current_step.attempt == 1:
            raise ConnectionError(f"no answer about {card_number}") from ValueError(f"{pin}")
        case "unstorable":
            return {"iban": IBAN, "card_number": {card_number}}
        case "interrupts" if current_step.attempt == 1:
            raise SystemExit(f"stopped at {card_number}")
        case "waits":
            gates.wait_for("charge")
    return {"iban": IBAN, "charge_id": 7, "note": f"charged {card_number}"}


@shared_task
def refund(iban: str = "none", card_number: str = "none", mood: str = "good") -> dict[str, Any]:
    journal.write(f"refund {iban} {card_number}")
    if mood == "no refund":
        raise RuntimeError(f"{iban} is closed")
    return {"iban": iban, "refunded": True}


@shared_task
def pay_out(iban: str, mood: str = "good") -> dict[str, Any]:
    journal.write(f"pay out {iban}")
    if mood in ("blocked", "no refund"):
        raise Declined({"iban": iban})
    return {"paid": f"to {iban}"}


@shared_task
def settle(charge: Mapping[str, Any], mood: str = "good") -> str:
    """Return a bare value, which is a secret by the name under which it is kept."""
    journal.write(f"settle {charge['iban']}")
    if mood in ("blocked", "no refund"):
        raise Declined(f"{charge} is blocked")
    return SIGNED


@shared_task
def assess(tax_id: str = "none") -> dict[str, Any]:
    journal.write(f"assess {tax_id}")
    return {"tax_id": tax_id or TAX_ID}


@condition
def is_german(data: Mapping[str, Any]) -> bool:
    return str(data["iban"]).startswith("DE")


def step(task: Any, **options: Any) -> Step:
    given = {"compensation": None, "retry": QUICK, "compensation_retry": QUICK_UNDO, "timeout": 60} | options
    return Step(task, **given)


payout = Saga("payout", steps=[step(charge, compensation=refund), step(pay_out, when=is_german)])
kept = Saga("kept", steps=[step(charge, compensation=refund, output="charge"), step(settle, output="signature")])
signed = Saga("signed", steps=[WaitFor("signed", timeout=3600), step(pay_out)])
assessment = Saga("assessment", steps=[step(assess)])
family = Saga("family", steps=[Child(assessment), parallel(step(charge), step(assess, name="again"))])
ledgers = Saga("ledgers", steps=[step(assess)], locks=["tax:{tax_id}"])

if "SAGAS_BROKER_URL" in os.environ and "SAGAS_DATABASE_URL" in os.environ:
    sagas = make(
        os.environ["SAGAS_BROKER_URL"], os.environ["SAGAS_DATABASE_URL"], os.environ.get("VAULT_KEYS", "").split()
    )
    app = sagas.app
