"""The SVG document: it stands alone, and says what it shows."""

import re
from collections import Counter
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.graph import svg
from sagas.graph.measure import width
from sagas.handle import StepView
from sagas.model import Plan, StepStatus
from tests.unit.graph.samples import (
    HOSTILE,
    Look,
    error,
    everything,
    look,
    named,
    order,
    pivot,
    plan,
    retriable,
    step,
    trip,
    undo,
    wide,
)

SVG = "{http://www.w3.org/2000/svg}"
TAGS = {"svg", "title", "desc", "style", "g", "rect", "circle", "path", "text"}
NEUTRAL = re.compile(r"[\w\s.#%,'-]*")  # sizes, paths, colours, classes, fonts


def drawn(plan_or_look: Plan | Look) -> ElementTree.Element:
    """The root; every element and attribute is one of those that can do nothing."""
    if isinstance(plan_or_look, Look):
        text = svg(plan_or_look.plan, plan_or_look)  # type: ignore[arg-type]
    else:
        text = svg(plan_or_look)
    text.encode("utf-8")
    root = ElementTree.fromstring(text)
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in TAGS
        assert not [name for name in element.attrib if name.startswith("on") or "href" in name or name == "style"]
        assert all(NEUTRAL.fullmatch(value) for value in element.attrib.values()), element.attrib
    assert {id(text) for text in root.iter(f"{SVG}style")} == {id(root[2])}
    return root


def written(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def told(root: ElementTree.Element) -> str:
    return root.findtext(f"{SVG}desc") or ""


def shapes(root: ElementTree.Element) -> Counter[str]:
    return Counter(element.tag for element in root.iter() if element.tag != f"{SVG}text")


def failing(name: str) -> Look:
    said = error(name, step=name, type=name)
    view = StepView(
        name=name, status=StepStatus.FAILED, attempts=1, error=said, compensation=undo("failed", error=said)
    )
    return look(named(name), "failed", view, error=said, key=name)


def test_it_has_a_title_a_description_and_a_size() -> None:
    root = drawn(order())

    assert root.findtext(f"{SVG}title") == "order v1"
    assert (root.get("role"), root.get("viewBox")) == ("img", f"0 0 {root.get('width')} {root.get('height')}")
    assert told(root).splitlines() == [
        "Saga order v1.",
        "1. reserve, undone by undo_reserve.",
        "2. charge, undone by undo_charge.",
        "3. ship (pivot).",
        "4. confirm (retriable).",
    ]


def test_every_step_and_compensation_is_written_and_the_point_of_no_return() -> None:
    texts = written(drawn(everything()))

    for said in ("flight", "undo_flight", "hotel", "sleeps 1.5 h", "waits for signal approved, 1 d, then goes on",
                 "saga insurance v1, given order_id, total", "undo of insure", "if total and if tasks.is_due",
                 "queue gold", "given up after 1 min", "pivot", "point of no return", "retriable",
                 "undone one by one, last begun first", "nothing to undo, best effort"):  # fmt: skip
        assert said in texts, said


def test_a_saga_with_nothing_to_undo_has_no_such_column() -> None:
    assert "undone ↑" in written(drawn(order()))
    assert "undone ↑" not in written(drawn(plan(pivot(0), retriable(1))))


def test_an_instance_shows_how_each_step_went_and_why_it_turned_back() -> None:
    boom = error("no funds")
    charge = StepView(
        name="charge",
        status=StepStatus.FAILED,
        attempts=2,
        losses=1,
        in_doubt=True,
        error=boom,
        compensation=undo("running"),
    )

    root = drawn(look(order(), "compensating", "completed", charge, "skipped", "skipped", error=boom))

    texts = written(root)
    for said in ("compensating", "because of Declined in charge: no funds", "completed", "failed", "running", "skipped",
                 "01890a5d-ac96-774b-bcce-b302099a8057, key order-42", "Declined: no funds"):  # fmt: skip
        assert said in texts, said
    assert "2. charge (failed, 2 attempts, 1 lost with its process, in doubt, here it turned back" in told(root)
    assert "3. ship (skipped, pivot)." in told(root)


@pytest.mark.parametrize("status", list(StepStatus))
def test_a_box_has_the_colours_of_its_status(status: StepStatus) -> None:
    root = drawn(look(order(), "running", status.value))

    assert [box for box in root.iter(f"{SVG}rect") if box.get("class") == f"box-{status.value}"]


def test_ways_not_taken_stand_back() -> None:
    def colours(plan_or_look: Plan | Look) -> Counter[str | None]:
        return Counter(way.get("class") for way in drawn(plan_or_look).iter(f"{SVG}path") if way.get("fill") == "none")

    plain, seen = colours(order()), colours(look(order(), "running", "completed", "running"))

    assert plain["stroke-untaken"] == 0
    assert seen["stroke-forward"] == 2
    assert seen["stroke-untaken"] == sum(plain.values()) - 2 - plain["stroke-no-return"]


def test_it_changes_its_colours_where_it_is_dark_and_nothing_else_on_the_page() -> None:
    style = drawn(order()).findtext(f"{SVG}style") or ""

    assert style.startswith("@media (prefers-color-scheme: dark) {")
    selectors = re.findall(r"([^{}]+)\{[^{}]*\}", style.partition("{")[2])
    assert selectors
    assert all(selector.startswith(".saga-graph .") for selector in selectors)
    assert "url" not in style


def test_it_has_no_ids_that_another_picture_could_have_too() -> None:
    assert not [element for element in drawn(trip()).iter() if element.get("id")]


def test_fifty_lanes_keep_the_width_and_the_size_of_the_letters() -> None:
    one, fifty = drawn(order()), drawn(wide(50))

    assert fifty.get("width") == one.get("width")
    assert {text.get("font-size") for text in fifty.iter(f"{SVG}text")} <= {"18", "14", "12"}
    assert {f"store_{lane:02}" for lane in range(50)} <= set(written(fifty))


def test_names_that_are_alike_are_told_apart_where_they_are_cut() -> None:
    names = [f"{'reserve_' * 10}{place}" for place in range(3)]

    texts = written(drawn(plan(*(step(place, name) for place, name in enumerate(names)))))

    assert len({text for text in texts if text.startswith("reserve_")}) == 3
    assert len({text for text in texts if text.startswith("undo_reserve_")}) == 3


def test_a_text_that_is_cut_can_be_read_in_full() -> None:
    root = drawn(look(order(), "failed", "completed", StepView(
        name="charge", status=StepStatus.FAILED, attempts=1, error=error("because " * 20 + "of the end")
    )))  # fmt: skip

    assert not [text for text in written(root) if "of the end" in text]
    assert [title for title in root.iter(f"{SVG}title") if (title.text or "").endswith("of the end)")]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_and_no_error_breaks_out(name: str) -> None:
    assert shapes(drawn(named(name))) == shapes(drawn(named("tame")))
    assert shapes(drawn(failing(name))) == shapes(drawn(failing("tame")))


@given(st.text())
def test_nor_does_any_other_text(name: str) -> None:
    root = drawn(failing(name))

    assert shapes(root) == shapes(drawn(failing("tame")))
    assert all(width(text, 12) < 784 for text in written(root))
