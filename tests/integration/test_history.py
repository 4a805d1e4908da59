"""What happened stays told, whatever a person has done about it since; what goes well writes no entries."""

from itertools import pairwise

from sagas import SagaHandle, SagaStatus
from tests.conftest import Shop
from tests.support import gates, journal, scripted


def written(shop: Shop, run: SagaHandle) -> list[str]:
    rows = journal.query(
        shop.database_url, f"SELECT event FROM sagas.saga_event WHERE instance_id = '{run.id}' ORDER BY id"
    )
    return [row[0] for row in rows]


def test_a_saga_that_goes_well_writes_no_entries(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert written(busy_shop, run) == []


def test_a_retry_adds_to_the_history_and_takes_nothing_from_it(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"c": ["no"], "undo b": "broken:account"})
    assert run.wait(30) is SagaStatus.FAILED
    rounds = [run.history()]
    run.retry("perhaps")
    assert run.wait(30) is SagaStatus.FAILED
    rounds.append(run.history())
    gates.open_gate(busy_shop.database_url, run, "account")
    run.retry("fixed")
    assert run.wait(30) is SagaStatus.COMPENSATED
    rounds.append(run.history())

    for before, after in pairwise(rounds):
        assert after[: len(before)] == before
    told = [(entry.event, entry.detail.get("attempts")) for entry in rounds[-1] if "compensation_" in entry.event]
    undos_of_b = [one for one in told if one[0] != "compensation_started"]
    assert ("compensation_failed", 4) in undos_of_b, "the first round had four attempts"
    assert ("compensation_failed", 8) in undos_of_b
    assert ("compensation_completed", 9) in undos_of_b
    ends = [entry.event for entry in rounds[-1] if entry.event in ("failed", "compensated")]
    assert ends == ["failed", "failed", "compensated"]
    assert all(entry.detail["worker"] for entry in rounds[-1] if entry.event == "compensation_failed")


def test_what_a_person_did_by_hand_had_failed_before(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"c": ["no"], "undo b": "invalid"})
    assert run.wait(30) is SagaStatus.FAILED
    before = run.history()

    run.skip("refunded by hand", by="maria")

    assert run.status is SagaStatus.COMPENSATED
    assert run.history()[: len(before)] == before
