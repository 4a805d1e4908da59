"""The SVG document: it stands alone, and says what it shows."""

import re
from collections import Counter
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.graph import svg
from sagas.graph.text_width import width
from sagas.handle import StepView
from sagas.model import Plan, StepStatus
from tests.unit.graph.samples import HOSTILE, Look, error, failing, look, named, order, wide
from tests.unit.graph.scenes import SCENES

SVG = "{http://www.w3.org/2000/svg}"
TAGS = {"svg", "title", "desc", "style", "g", "rect", "circle", "path", "text"}
NEUTRAL = re.compile(r"[\w\s.#%,'-]*")  # sizes, paths, colours, classes, fonts


def drawn(scene: Plan | Look) -> ElementTree.Element:
    """Return the root; every element and attribute is one of those that can do nothing."""
    text = svg(scene.plan, scene) if isinstance(scene, Look) else svg(scene)  # type: ignore[arg-type]
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


def shapes(root: ElementTree.Element) -> Counter[str]:
    return Counter(element.tag for element in root.iter() if element.tag != f"{SVG}text")


@pytest.mark.parametrize("name", SCENES)
def test_every_picture_is_harmless_and_says_what_it_shows(name: str) -> None:
    root = drawn(SCENES[name])

    assert root.findtext(f"{SVG}title")
    assert root.findtext(f"{SVG}desc")
    assert (root.get("role"), root.get("viewBox")) == ("img", f"0 0 {root.get('width')} {root.get('height')}")
    # Nothing that another picture on the same page could have too.
    assert not [element for element in root.iter() if element.get("id")]


@pytest.mark.parametrize("status", list(StepStatus))
def test_a_box_has_the_colours_of_its_status(status: StepStatus) -> None:
    root = drawn(look(order(), "running", status.value))

    assert [box for box in root.iter(f"{SVG}rect") if box.get("class") == f"box-{status.value}"]


def test_it_changes_its_colours_where_it_is_dark_and_nothing_else_on_the_page() -> None:
    style = drawn(order()).findtext(f"{SVG}style") or ""

    assert style.startswith("@media (prefers-color-scheme: dark) {")
    selectors = re.findall(r"([^{}]+)\{[^{}]*\}", style.partition("{")[2])
    assert selectors
    assert all(selector.startswith(".saga-graph .") for selector in selectors)
    assert "url" not in style


def test_fifty_lanes_keep_the_width_and_the_size_of_the_letters() -> None:
    one, fifty = drawn(order()), drawn(wide(50))

    assert fifty.get("width") == one.get("width")
    assert {text.get("font-size") for text in fifty.iter(f"{SVG}text")} <= {"18", "14", "12"}
    assert {f"store_{lane:02}" for lane in range(50)} <= set(written(fifty))


def test_names_that_are_alike_are_told_apart_where_they_are_cut() -> None:
    texts = written(drawn(SCENES["names-that-are-alike"]))

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
