"""The README's first example and the session of the page for operators, as they are printed, in an empty directory:
only the servers' addresses are others.
"""

import re
import shlex
import tomllib

from tests.support.pages import PAGES, README, Example, blocks, printed, section, shape
from tests.support.programs import briefly
from tests.support.workers import ROOT

OPERATIONS = section(PAGES["docs/operations.md"], "A night with one order")


def test_the_install_line_names_this_package() -> None:
    name = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]

    assert blocks(README, "console")[0] == f"$ pip install {name}\n"


#: What the operators' session is about: the courier's client cannot spell a city, and raises what no step names.
CANNOT_SPELL = """
    if city == "Paris":
        raise ValueError("no parcel fits the address")
"""
ORDER_44 = """
from shop import app
from orders import order
run = order.start({"city": "Paris", "total": 9, "items": ["pen"]}, key="order-44")
print(run.wait(timeout=30).value)
"""
WAIT_FOR_44 = """
from shop import app
print(app.sagas.find(saga="order", key="order-44").wait(timeout=30).value)
"""


def test_the_first_example_runs_as_it_is_printed(example: Example) -> None:
    (commands,) = [block for block in blocks(section(README, "A saga"), "console") if "migrate" in block]
    typed = re.findall(r"^\$ (.*)$", commands, re.MULTILINE)
    assert typed == [
        "celery -A shop sagas migrate",
        "celery -A shop worker &",
        "python start.py",
        "celery -A shop sagas graph order/order-43",
    ]

    example.run(typed[0])
    with briefly(example.worker()):
        said = example.run(typed[2])
        drawn = example.run(typed[3])
        shown = example.run("celery -A shop sagas show order/order-43")

    assert [line.rstrip() for line in said.splitlines()] == re.findall(r"^order-.*$", commands, re.MULTILINE)
    assert "turned back because of orders.NoCourier: Atlantis (in step create_shipment)" in shown
    assert shape(shown) == shape(printed(README, "celery -A shop sagas show order/order-43"))
    assert shape(drawn) == shape("".join(blocks(README, "mermaid")))


#: A choreography can be started once a worker has registered it.
START_TWO = """
import time, shop
from reactions import OrderPlaced, fulfilment
from sagas.errors import NotRegistered

def started(number):
    while True:
        try:
            return fulfilment.start(OrderPlaced(order_id=number), key=number)
        except NotRegistered:
            time.sleep(0.2)

print(*(started(number).wait(timeout=60).value for number in ("42", "43")))
"""


def test_the_example_of_events_runs_as_it_is_printed(example: Example) -> None:
    (reactions,) = blocks(section(README, "Events instead of a list"), "python")
    example.write("reactions.py", reactions)
    shop = example.directory / "shop.py"
    shop.write_text(shop.read_text().replace('include=["orders"]', 'include=["orders", "reactions"]'))

    example.run("celery -A shop sagas migrate")
    with briefly(example.worker()):
        assert example.run(shlex.join(["python", "-c", START_TWO])).startswith("completed compensated\n")
        assert "COMPENSATED" in example.run("celery -A shop sagas show fulfilment/43")
        example.run("celery -A shop sagas check")


def test_the_operators_session_goes_as_it_is_printed(example: Example) -> None:
    orders = example.directory / "orders.py"
    orders.write_text(orders.read_text().replace("\n\norder = Saga(", f"{CANNOT_SPELL}\norder = Saga("))
    session = blocks(OPERATIONS, "console")
    assert [block.split()[5] for block in session] == ["manual", "show", "resolve", "manual"]

    example.run("celery -A shop sagas migrate")
    with briefly(example.worker()):
        assert example.run(shlex.join(["python", "-c", ORDER_44])) == "failed\n"
        for block in session:
            command, _, output = block.removeprefix("$ ").partition("\n")
            assert shape(example.run(command)) == shape(output), command
            if "resolve" in command:
                assert example.run(shlex.join(["python", "-c", WAIT_FOR_44])) == "compensated\n"
