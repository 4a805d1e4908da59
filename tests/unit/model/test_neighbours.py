"""Which applications clash, decided from what each says of itself."""

from dataclasses import replace

import pytest

from sagas.model.neighbours import Neighbour, clashes, other_brokers, place_of

OWN = Neighbour(
    worker="this one",
    app="config",
    home="shop_db/sagas/1",
    control_queue="sagas",
    broker="redis://one//",
    plans={"order:1": "a", "trip:2": "b"},
)
TWIN = replace(OWN, worker="twin@host")


def test_d25_workers_of_the_same_app_do_not_clash() -> None:
    assert clashes(OWN, [TWIN, replace(TWIN, broker=None, plans={})]) == []


@pytest.mark.parametrize("home", ["blog_db/sagas/1", "shop_db/other/1", "shop_db/sagas/2"])
def test_d25_the_same_queue_for_another_database_schema_or_copy_of_it_clashes(home: str) -> None:
    """Both may call their app, and their saga, the same."""
    other = replace(TWIN, home=home)

    (told,) = clashes(OWN, [other, replace(other, worker="third@host")])

    assert told.startswith("worker twin@host of app 'config' consumes the control queue 'sagas'")
    assert f"for sagas in {place_of(home)}" in told
    assert "Sagas(control_queue='…')" in told


def test_d25_another_schema_with_a_queue_of_its_own_does_not_clash() -> None:
    assert clashes(OWN, [replace(TWIN, home="blog_db/sagas/1", control_queue="blog", plans={"order:1": "z"})]) == []


def test_d25_another_app_with_the_same_schema_and_queue_clashes() -> None:
    (told,) = clashes(OWN, [replace(TWIN, app="blog", plans={})])

    assert "worker twin@host is of app 'blog' and this is app 'config'" in told
    assert "Sagas(schema='…')" in told


def test_d25_another_plan_of_the_same_saga_and_version_clashes_whatever_the_queue() -> None:
    other = replace(TWIN, control_queue="other", plans={"order:1": "z", "order:2": "a", "trip:2": "b", "more:1": "c"})

    (told,) = clashes(OWN, [other])

    assert told.startswith("worker twin@host has another plan of saga 'order' version 1")
    assert "raise the version" in told


def test_d25_another_broker_of_the_same_schema_is_a_note_since_it_may_be_another_name() -> None:
    assert (
        other_brokers(OWN, [TWIN, replace(TWIN, broker=None), replace(TWIN, home="x/y/z", broker="redis://x//")]) == []
    )
    (told,) = other_brokers(OWN, [replace(TWIN, broker="redis://two//")])
    assert "says that its broker is redis://two//, and here it is redis://one//" in told


def test_a_place_is_told_in_words_whatever_the_names_are() -> None:
    assert place_of("a/b/c/id") == "schema 'c' of database 'a/b'"
