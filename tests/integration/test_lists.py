"""`Sagas.list`: pages of instances, the newest first, by filters."""

from datetime import timedelta
from typing import Any

import pytest

from sagas import Child, ConfigurationError, RowDamaged, Saga, SagaStatus
from tests.conftest import Shop
from tests.support import journal, scripted, shapes
from tests.support.inline import run_messages

parent = Saga("parent", steps=[Child(Saga("child", steps=[scripted.step("x"), scripted.step("y")]))])


def work(shop: Shop) -> None:
    """As far as the messages go, those of the error callbacks too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SAGAS_DATABASE_URL", shop.database_url)  # where the steps' journal is
        while run_messages(shop.sagas.app) + run_messages(shop.sagas.app, "sagas"):
            pass


def found(shop: Shop, **filters: Any) -> list[Any]:
    return [run.id for run in shop.sagas.list(**filters)]


@pytest.fixture(scope="module")
def full_shop(own_shop: Shop) -> Shop:
    """An application with one instance of each kind, for tests that change nothing."""
    own_shop.start(scripted.three, key="order-1")
    own_shop.start(scripted.three, {"c": "no:the piano is too heavy"}, key="order-2")
    own_shop.start(shapes.stopping, {"c": "no:sold out", "undo b": "say:manual"}, key="order-3")
    own_shop.start(shapes.approved, key="100%_sure")
    work(own_shop)
    own_shop.start(scripted.three, key="last")
    return own_shop


#: Their keys, in the order in which they were started.
KEYS = {
    "completed": "order-1",
    "compensated": "order-2",
    "failed": "order-3",
    "running": "100%_sure",
    "pending": "last",
}


def keys(shop: Shop, **filters: Any) -> list[str | None]:
    return [run.key for run in shop.sagas.list(**filters)]


def test_the_newest_come_first_and_say_how_they_stand(full_shop: Shop) -> None:
    page = full_shop.sagas.list()

    assert [(run.status, run.key) for run in page] == list(reversed(KEYS.items()))
    assert page.after is None
    for run in page:
        seen = full_shop.sagas.get(run.id).snapshot()
        assert (run.saga, run.version, run.key, run.status) == (seen.saga, seen.version, seen.key, seen.status)
        assert (run.started_at, run.finished_at, run.parent) == (seen.started_at, seen.finished_at, None)


def test_child_sagas_stand_where_they_were_started_and_name_their_parent(shop: Shop) -> None:
    families = [shop.start(parent) for _ in range(3)]
    work(shop)

    page = shop.sagas.list()

    started = [run.started_at for run in page]
    assert started == sorted(started, reverse=True)
    assert {run.parent for run in page if run.saga == "child"} == {family.id for family in families}


def test_pages_show_each_instance_once_whatever_starts_meanwhile(shop: Shop) -> None:
    sagas = (scripted.three, scripted.pivoted)
    before = [shop.start(sagas[number % 2]).id for number in range(7)]

    seen, after = [], None
    while True:
        page = shop.sagas.list(after=after, limit=2)
        seen += [run.id for run in page]
        shop.start(scripted.three)
        if page.after is None:
            break
        after = page.after

    assert seen == before[::-1]


@pytest.mark.parametrize("limit", [3, 4])
def test_a_page_names_the_next_only_where_there_is_one(shop: Shop, limit: int) -> None:
    for _ in range(4):
        shop.start(scripted.three)

    assert (shop.sagas.list(limit=limit).after is None) is (limit == 4)
    assert (shop.sagas.list(saga="three", limit=limit).after is None) is (limit == 4)


@pytest.mark.parametrize("status", KEYS)
def test_by_status(full_shop: Shop, status: str) -> None:
    saga = next(run.saga for run in full_shop.sagas.list() if run.status == status)

    assert keys(full_shop, status=status) == [KEYS[status]]
    assert keys(full_shop, status=SagaStatus(status), saga=saga) == [KEYS[status]]
    assert keys(full_shop, status=status, saga="pivoted") == []


def test_running_is_what_its_handle_calls_running(shop: Shop) -> None:
    # Claimed and not completed: the row still says pending.
    run = shop.start(scripted.three)
    assert (found(shop, status="pending"), found(shop, status="running")) == ([run.id], [])

    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_step SET status = 'running', token = gen_random_uuid(), claimed_at = clock_timestamp(), "
        "first_claimed_at = clock_timestamp()",
    )

    assert run.status is SagaStatus.RUNNING
    assert (found(shop, status="pending"), found(shop, status="running")) == ([], [run.id])
    assert shop.sagas.list()[0].status is SagaStatus.RUNNING


def test_by_key_also_those_that_had_it_before(shop: Shop) -> None:
    former = shop.start(scripted.three, {"c": "no"}, key="order-2")
    work(shop)
    anew = shop.start(scripted.three, key="order-2", if_exists="restart")

    assert found(shop, key="order-2") == found(shop, text="order-2") == [anew.id, former.id]
    assert found(shop, key="order") == []
    assert found(shop, key="order-2", saga="pivoted") == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("order-2", ["compensated"]),
        ("order-", ["failed", "compensated", "completed"]),
        ("rder-2", []),
        ("too heavy", ["compensated"]),
        ("HEAV pian", ["compensated"]),
        ("CleanNo", ["failed", "compensated"]),
        ("heavy piano!", ["compensated"]),
        ("light piano", []),
        ("100%", ["running"]),
        ("100%_", ["running"]),
        ("1_0", []),
        ("\\", []),
        ("'; --", []),
        ("& | !", []),
        (":*", []),
    ],
)
def test_by_the_beginning_of_a_key_or_words_of_the_error(full_shop: Shop, text: str, names: list[str]) -> None:
    assert keys(full_shop, text=text) == [KEYS[name] for name in names]


def test_by_the_step_at_which_they_stand(full_shop: Shop) -> None:
    assert keys(full_shop, step="approval") == [KEYS["running"]]
    assert keys(full_shop, step="a") == [KEYS["pending"]]
    assert keys(full_shop, step="b") == [KEYS["failed"]]
    assert keys(full_shop, step="b", status="completed") == []
    assert keys(full_shop, step="c", saga="three") == []


def test_by_how_long_ago_they_were_started(shop: Shop) -> None:
    old, _ = (shop.start(scripted.three) for _ in range(2))
    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_instance SET created_at = created_at - interval '2 days' WHERE id = %s",
        str(old.id),
    )

    assert found(shop, older_than=timedelta(days=1)) == [old.id]
    assert found(shop, older_than=timedelta(days=3)) == []


def test_what_needs_a_person_comes_with_the_parents_that_wait_for_it(shop: Shop) -> None:
    alone = shop.start(shapes.stopping, {"c": "no:sold out", "undo b": "say:manual"})
    run = shop.start(Saga("outer", steps=[Child(parent)]), {"y": "no", "undo x": "say:manual"})
    shop.start(parent)
    work(shop)

    waiting = shop.sagas.list(needs_person=True)

    assert [one.saga for one in waiting] == ["child", "parent", "outer", alone.saga]
    assert found(shop, needs_person=True, saga="outer") == [run.id]
    assert found(shop, needs_person=True, status="failed") == [waiting[0].id, alone.id]


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"status": "lost"}, r"status='lost'\): the statuses are pending, running"),
        ({"limit": 0}, r"limit=0\): pass a number of instances from 1 to 10000"),
        ({"limit": True}, "limit=True"),
        ({"limit": 10_001}, "limit=10001"),
        ({"older_than": 3600}, r"pass a timedelta, as in timedelta\(days=1\)"),
        ({"text": "  "}, "pass the beginning of a key, or words of an error"),
        ({"after": "elsewhere"}, "pass the `after` of the previous page, unchanged"),
        ({"after": ""}, "unchanged"),
        ({"after": "A" * 32}, None),
        ({"after": "f" * 32}, "unchanged"),
        ({"after": "ü" * 32}, "unchanged"),
        ({"after": 7}, "unchanged"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(full_shop: Shop, filters: dict[str, Any], says: str | None) -> None:
    if says is None:
        assert full_shop.sagas.list(**filters) == ()
        return
    with pytest.raises(ConfigurationError, match=says):
        full_shop.sagas.list(**filters)


@pytest.mark.parametrize("name", ["saga", "key", "step", "text"])
def test_what_postgresql_cannot_hold_is_called_so_nowhere(full_shop: Shop, name: str) -> None:
    assert full_shop.sagas.list(**{name: "nul\x00"}) == ()
    assert full_shop.sagas.list(**{name: "\udcff"}) == ()


def test_one_that_cannot_be_read_is_named(shop: Shop) -> None:
    runs = [shop.start(scripted.three) for _ in range(3)]
    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_instance SET created_at = '294276-12-31 23:59:59+00' WHERE id = %s",
        str(runs[1].id),
    )

    with pytest.raises(RowDamaged, match=str(runs[1].id)):
        shop.sagas.list()
    assert found(shop, status="completed") == []
