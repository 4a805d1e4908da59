"""Migrations are numbered, and Django applies the same ones, one after another."""

import re

from sagas.store.migrations.runner import migrations
from tests.support.workers import ROOT

DJANGO = ROOT / "sagas" / "contrib" / "django" / "migrations"


def test_each_migration_has_a_number_of_its_own() -> None:
    numbers = [number for number, _, _ in migrations()]

    assert numbers == sorted(set(numbers))


def test_django_has_a_twin_of_each_migration_and_no_two_of_them_follow_the_same_one() -> None:
    twins = {path.stem: path.read_text() for path in DJANGO.glob("[0-9]*.py")}
    followed = [re.findall(r'\("celery_sagas", "(\w+)"\)', text) for text in twins.values()]

    assert sorted(twins) == [name.removesuffix(".sql") for _, name, _ in migrations()]
    assert sorted(map(len, followed)) == [0] + [1] * (len(twins) - 1)
    assert len({name for names in followed for name in names}) == len(twins) - 1
    assert all(f"apply({int(name[:4])})" in text for name, text in twins.items() if name != "0001_initial")
