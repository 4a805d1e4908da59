"""The Mermaid text. Its grammar here is stricter than Mermaid's: what fits it cannot mean anything else there."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.graph import mermaid
from sagas.graph.mermaid import escaped, label
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
    plan,
    step,
    trip,
    undo,
    wide,
)

TEXT = r'"(?:[^\W_]|[ ,()/]|(?<=[^\W_])[._-](?=[^\W_])|<br/>|#\d+;)+"'
ID = r"(?:start|done|fork\d+|join\d+|[sc]\d+_\d+|u\d*)"
LINES = [
    r"flowchart (?:TD|LR)",
    rf"{ID}(?:\[{TEXT}\]|\(\[{TEXT}\]\)|\[\[{TEXT}\]\]|\({TEXT}\)|\(\({TEXT}\)\)|\{{\{{{TEXT}\}}\}}):::[a-z]+",
    rf"{ID} (?:-->|==>|-\.-|-\.->)(?:\|{TEXT}\|)? {ID}",
    rf"subgraph {ID} \[{TEXT}\]",
    r"direction (?:TB|LR)",
    r"end",
    rf"style {ID} [a-z:#0-9,]+",
    r"linkStyle \d+(?:,\d+)* stroke:#[0-9a-f]{6}",
    r"classDef [a-z]+ [a-z:#0-9,-]+",
]
GRAMMAR = re.compile("|".join(f"(?:{line})" for line in LINES))


def drawn(plan_or_look: Plan | Look) -> list[str]:
    """The lines of a chart, each of which fits the grammar."""
    if isinstance(plan_or_look, Look):
        text = mermaid(plan_or_look.plan, plan_or_look)  # type: ignore[arg-type]
    else:
        text = mermaid(plan_or_look)
    assert text.endswith("\n")
    lines = [line.strip() for line in text[:-1].split("\n")]
    assert [line for line in lines if not GRAMMAR.fullmatch(line)] == []
    return lines


def failing(name: str) -> Look:
    """An instance in which whatever can say something says this."""
    said = error(name, step=name, type=name)
    view = StepView(
        name=name,
        status=StepStatus.FAILED,
        attempts=1,
        error=said,
        compensation=undo("failed", error=said),
    )
    return look(named(name), "failed", view, error=said, key=name)


def test_a_straight_saga() -> None:
    assert (
        mermaid(order())
        == """\
flowchart TD
  start("order v1"):::plain
  s0_0["reserve"]:::plain
  s1_0["charge"]:::plain
  s2_0{{"ship<br/>pivot"}}:::pivot
  s3_0["confirm<br/>retriable"]:::plain
  c0_0("undo_reserve"):::undo
  c1_0("undo_charge"):::undo
  done(("done")):::plain
  start --> s0_0
  s0_0 --> s1_0
  s1_0 --> s2_0
  s2_0 -->|"point of no return"| s3_0
  s3_0 --> done
  s0_0 -.- c0_0
  s1_0 -.- c1_0
  c1_0 -.-> c0_0
  linkStyle 5,6,7 stroke:#b45309
  classDef plain fill:#ffffff,stroke:#64748b,color:#0f172a
  classDef undo fill:#fffbeb,stroke:#b45309,color:#0f172a
  classDef pivot fill:#eff6ff,stroke:#1d4ed8,color:#0f172a
"""
    )


def test_each_role_has_a_shape_of_its_own() -> None:
    lines = drawn(everything())

    for line in (
        's2_0(["sleep<br/>sleeps 1.5 h"]):::plain',
        's3_0(["approval<br/>waits for signal approved, 1 d, then goes on"]):::plain',
        's4_0[["insure<br/>saga insurance v1, given order_id, total"]]:::plain',
        's5_0["charge<br/>queue gold"]:::plain',
        's6_0{{"ship<br/>pivot"}}:::pivot',
        's7_0["confirm<br/>retriable"]:::plain',
        's1_3["car<br/>nothing to undo, best effort"]:::plain',
        'c5_0("undo_charge<br/>given up after 1 min"):::undo',
    ):
        assert line in lines


def test_conditions_and_the_point_of_no_return_stand_on_the_ways() -> None:
    lines = drawn(everything())

    assert 's4_0 -->|"if total and if tasks.is_due"| s5_0' in lines
    assert 's6_0 -->|"point of no return"| s7_0' in lines


def test_lanes_fork_and_join_and_are_undone_as_a_group() -> None:
    lines = drawn(trip())

    assert {"s0_0 --> fork1", "fork1 --> s1_0", "s1_0 --> s1_1", "s1_1 --> join1", "join1 --> s2_0"} <= set(lines)
    begin = lines.index('subgraph u1 ["undone one by one, last begun first"]')
    assert lines[begin + 1 : begin + 6] == [
        "direction TB",
        'c1_0("undo_flight"):::undo',
        'c1_1("undo_seat"):::undo',
        'c1_2("undo_hotel"):::undo',
        "end",
    ]
    assert {"c2_0 -.-> u1", "u1 -.-> c0_0"} <= set(lines)


def test_an_instance_shows_the_way_it_went() -> None:
    boom = error("no funds")
    charge = StepView(name="charge", status=StepStatus.FAILED, attempts=2, in_doubt=True, error=boom,
                      compensation=undo("running"))  # fmt: skip

    lines = drawn(look(order(), "compensating", "completed", charge, "skipped", "skipped", error=boom))

    for line in (
        'start("order v1<br/>01890a5d-ac96-774b-bcce-b302099a8057, key order-42<br/>compensating'
        '<br/>because of Declined in charge#58; no funds"):::compensating',
        's0_0["reserve<br/>completed, 1 attempt"]:::completed',
        's1_0["charge<br/>failed, 2 attempts, in doubt, here it turned back<br/>Declined#58; no funds"]:::failed',
        's2_0{{"ship<br/>pivot<br/>skipped"}}:::skipped',
        'c0_0("undo_reserve"):::undo',
        'c1_0("undo_charge<br/>running, 1 attempt"):::running',
        "start ==> s0_0",
        "s0_0 ==> s1_0",
        "s1_0 --> s2_0",
        "c1_0 -.-> c0_0",
    ):
        assert line in lines


def test_the_way_back_is_drawn_when_it_was_gone() -> None:
    back = ("compensated", undo("completed"))

    assert "c1_0 ==> c0_0" in drawn(look(order(), "compensated", back, back, "failed"))


def test_a_completed_instance_ends_in_green() -> None:
    lines = drawn(look(order(), "completed", *["completed"] * 4))

    assert 'done(("done")):::completed' in lines
    assert "s3_0 ==> done" in lines


def test_many_lanes_are_stacked_and_their_compensations_say_what_they_undo() -> None:
    lines = drawn(wide(50, undo_at_once=True))

    assert lines[0] == "flowchart LR"
    assert 'c1_49("undo_store_49<br/>undoes store_49"):::undo' in lines
    assert not [line for line in lines if "-.- " in line]
    (styled,) = [line for line in lines if line.startswith("linkStyle")]
    (back,) = [place for place, line in enumerate(ways(lines)) if "-.->" in line]
    assert styled == f"linkStyle {back} stroke:#b45309"


def ways(lines: list[str]) -> list[str]:
    return [line for line in lines if re.match(rf"{ID} [-=]", line)]


def test_a_plan_of_one_step_can_be_drawn() -> None:
    assert ways(drawn(plan(step(0)))) == ["start --> s0_0", "s0_0 --> done", "s0_0 -.- c0_0"]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_and_no_error_breaks_out(name: str) -> None:
    assert len(ways(drawn(named(name)))) == len(ways(drawn(named("tame"))))
    assert len(drawn(failing(name))) == len(drawn(failing("tame")))


@given(st.text())
def test_nor_does_any_other_text(name: str) -> None:
    assert len(drawn(failing(name))) == len(drawn(failing("tame")))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tasks.orders.reserve_2", "tasks.orders.reserve_2"),
        ("1. a", "1#46; a"),
        ("- a", "#45; a"),
        ("_a_ __b", "#95;a#95; #95;#95;b"),
        ('"#;<>&|`', "#34;#35;#59;#60;#62;#38;#124;#96;"),
        ("$$", "#36;#8203;#36;"),
        ("fa:fa-car", "fa#58;#8203;fa-car"),
        (r"C:\new", "C#58;#92;#8203;new"),
        ("für 漢字", "für 漢字"),
    ],
)
def test_what_could_mean_something_is_an_entity(text: str, says: str) -> None:
    assert escaped(text) == says


def test_a_label_has_one_line_for_each_text_that_there_is() -> None:
    assert label("a", None, "", "b") == '"a<br/>b"'
    assert len(label("x" * 500)) < 140


def test_a_label_is_never_empty_for_that_would_be_an_error() -> None:
    assert label("", None) == '" "'
