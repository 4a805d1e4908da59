"""A backlog is not a loss, whoever starts to work on it in the middle (H5)."""

from tests.conftest import Shop
from tests.support import journal, scripted
from tests.support.workers import eventually, running

#: Longer than the lease and every doubling of it that could matter here.
A_WHILE = "SELECT count(*) FROM sagas.saga_step WHERE round = 0 AND status = 'completed'"


def sent_again(shop: Shop) -> int:
    ((count,),) = journal.query(
        shop.database_url, "SELECT count(*) FROM sagas.saga_event WHERE event = 'dispatched_again'"
    )
    return int(count)


def test_h5_a_worker_that_starts_behind_a_backlog_makes_nobody_send_it_again(shop: Shop) -> None:
    # Given: many that wait behind one worker for longer than a lease
    runs = [shop.start(scripted.three, {"a": "sleep:0.3", "b": "sleep:0.3", "c": "sleep:0.3"}) for _ in range(30)]
    with running(shop.worker("-c", "1", name="first")):
        eventually(lambda: journal.query(shop.database_url, A_WHILE)[0][0] >= 8, "the first to have worked a while")
        assert sent_again(shop) == 0

        # When: others come to help
        with running(shop.worker("-c", "1", name="second")), running(shop.worker("-c", "1", name="third")):
            for run in runs:
                run.wait(90)

    # Then
    assert sent_again(shop) == 0
    assert all(shop.effects(run) == ["a", "b", "c"] for run in runs)
