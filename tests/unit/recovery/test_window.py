"""The window of a queue: how many messages may be out, so that it never runs empty and is never flooded (B3)."""

from datetime import UTC, datetime, timedelta

from sagas.recovery.filling import LEAST, MOST, Window

NOW, SECOND = datetime(2026, 11, 30, tzinfo=UTC), timedelta(seconds=1)


def test_b3_a_new_queue_begins_with_twice_its_slots() -> None:
    assert Window().room(out=0, slots=20) == 40


def test_b3_a_queue_that_nobody_is_known_to_consume_gets_a_few() -> None:
    assert Window().room(out=0, slots=0) == LEAST


def test_b3_what_is_out_already_counts() -> None:
    assert Window().room(out=35, slots=20) == 5


def test_b3_a_new_holder_of_the_lease_takes_what_is_out_for_the_window() -> None:
    window = Window()

    assert window.room(out=500, slots=6) == 0
    assert window.size == 500


def test_b3_it_doubles_whenever_the_queue_ran_empty() -> None:
    """Else pacing would confirm itself: what is claimed is what was sent."""
    window = Window()

    sizes = []
    for _ in range(6):
        window.left_out = window.room(out=0, slots=6)
        sizes.append(window.size)

    assert sizes == [12, 24, 48, 96, 192, 384]


def test_b3_it_follows_workers_that_are_scaled_from_one_to_fifty() -> None:
    window = Window()
    window.left_out = window.room(out=0, slots=1)

    assert window.room(out=9, slots=50) == 100 - 9


def test_b3_it_shrinks_slowly_to_two_intervals_work() -> None:
    window = Window(size=1_000)
    taken = 100
    for _ in range(200):
        window.left_out = window.size
        window.room(out=window.size - taken, slots=6)

    assert 150 <= window.size <= 220


def test_b3_steps_of_ten_minutes_neither_grow_nor_empty_it() -> None:
    window = Window()
    window.left_out = window.room(out=0, slots=4)
    for _ in range(100):
        window.left_out = 8 + window.room(out=8, slots=4)

    assert window.size == LEAST


def test_b3_where_losses_count_as_sent_the_next_batch_waits_for_the_first_of_the_last_one() -> None:
    window = Window(left_out=24)
    assert window.still_out(taken_until=None) == 0

    window.sent_from = NOW
    assert window.still_out(taken_until=None) == 24
    assert window.still_out(taken_until=NOW - SECOND) == 24
    assert window.still_out(taken_until=NOW) == 0


def test_b3_it_has_a_limit() -> None:
    window = Window()
    for _ in range(30):
        window.left_out = window.room(out=0, slots=6)

    assert window.size == MOST


def test_b19_what_a_rate_limit_keeps_back_is_no_queue_that_ran_empty() -> None:
    window = Window()
    window.left_out = window.room(out=0, slots=4)

    for _ in range(30):
        window.left_out = 3 + window.room(out=3, slots=4, is_held=True)

    assert window.size == LEAST
    assert window.room(out=3, slots=4) == 2 * LEAST - 3
