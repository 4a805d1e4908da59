"""The tests that pages show run as they are printed, on the README's example: only servers' addresses are others."""

from tests.support.pages import PAGES, Example, blocks

PYTEST = "python -m pytest -q -p no:cacheprovider -W error"
MAKE_TABLES = """
from shop_app import create_app, db, sagas
with create_app().app_context():
    db.create_all()
    sagas.migrate()
"""


def test_the_tests_of_the_page_on_testing_pass(example: Example) -> None:
    example.run("celery -A shop sagas migrate")
    example.write("test_shop.py", "\n".join(blocks(PAGES["docs/testing.md"], "python")))

    assert "3 passed" in example.run(f"{PYTEST} test_shop.py")


def test_the_application_and_the_test_of_the_page_on_flask_fit_together(example: Example) -> None:
    set_up, for_workers, view, test = blocks(PAGES["docs/flask.md"], "python")
    example.write("shop_app.py", f"{set_up}\n{view}")
    example.write("make_tables.py", MAKE_TABLES)
    example.write("make_celery.py", for_workers)
    example.write("test_shop.py", test)

    example.run("python make_tables.py")
    assert "1 passed" in example.run(f"{PYTEST} test_shop.py")
    assert "COMPENSATED" in example.run("celery -A make_celery sagas show order/42")
