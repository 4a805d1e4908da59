"""The ways between the boxes."""

from sagas.graph.routes import EdgeKind, Routes, routes_of
from sagas.graph.shape import shape_of
from sagas.model import Plan
from tests.unit.graph.samples import child, look, order, pivot, plan, sleep, step, trip, undo, wide


def ways(routes: Routes, kind: EdgeKind) -> list[tuple[str, str]]:
    return [(edge.source, edge.target) for edge in routes.of(kind)]


def routes(drawn: Plan) -> Routes:
    return routes_of(drawn, shape_of(drawn))


def forward(drawn: Plan) -> list[tuple[str, str]]:
    return ways(routes(drawn), EdgeKind.FORWARD)


def backward(drawn: Plan) -> list[tuple[str, str]]:
    return ways(routes(drawn), EdgeKind.BACKWARD)


# -- forward


def test_straight_steps_follow_one_another() -> None:
    assert forward(order()) == [
        ("start", "s0_0"),
        ("s0_0", "s1_0"),
        ("s1_0", "s2_0"),
        ("s2_0", "s3_0"),
        ("s3_0", "done"),
    ]


def test_lanes_fork_and_join() -> None:
    assert forward(trip()) == [
        ("start", "s0_0"),
        ("s0_0", "fork1"),
        ("fork1", "s1_0"),
        ("s1_0", "s1_1"),
        ("s1_1", "join1"),
        ("fork1", "s1_2"),
        ("s1_2", "join1"),
        ("fork1", "s1_3"),
        ("s1_3", "join1"),
        ("join1", "s2_0"),
        ("s2_0", "done"),
    ]


def test_parallel_positions_may_follow_one_another_and_begin_and_end_a_saga() -> None:
    beside = [step(position, branch=lane, lane=lane) for position in (0, 1) for lane in (0, 1)]

    found = forward(plan(*beside))

    assert {("start", "fork0"), ("join0", "fork1"), ("join1", "done")} <= set(found)


def test_a_condition_stands_on_the_way_to_its_step() -> None:
    drawn = plan(step(0), step(1, when="gift"), step(2, branch=0), step(2, branch=1, lane=1, predicate="tasks.is_big"))

    labels = {edge.target: edge.labels for edge in routes(drawn).of(EdgeKind.FORWARD) if edge.labels}

    assert labels == {"s1_0": ("if gift",), "s2_1": ("if tasks.is_big",)}


def test_the_way_out_of_the_pivot_is_the_point_of_no_return() -> None:
    drawn = plan(step(0), pivot(1), step(2, branch=0, when="x"), step(2, branch=1, lane=1))

    labels = {(edge.source, edge.target): edge.labels for edge in routes(drawn).of(EdgeKind.FORWARD) if edge.labels}

    assert labels == {("s1_0", "fork2"): ("point of no return",), ("fork2", "s2_0"): ("if x",)}
    assert routes(plan(pivot(0))).of(EdgeKind.FORWARD)[-1].labels == ("point of no return",)


# -- back


def test_every_compensation_belongs_to_its_step() -> None:
    assert ways(routes(order()), EdgeKind.UNDOES) == [("s0_0", "c0_0"), ("s1_0", "c1_0")]


def test_compensations_run_in_reverse_order_past_what_has_none() -> None:
    drawn = plan(step(0), sleep(1), child(2), step(3, compensation=None), step(4), pivot(5))

    assert backward(drawn) == [("c4_0", "c2_0"), ("c2_0", "c0_0")]


def test_lanes_are_undone_one_by_one_in_no_fixed_order() -> None:
    found = routes(trip())

    (group,) = found.groups
    assert (group.members, group.at_once) == (("c1_0", "c1_1", "c1_2"), False)
    assert group.label == "undone one by one, last begun first"
    assert ways(found, EdgeKind.BACKWARD) == [("c1_1", "c1_0"), ("c2_0", "u1"), ("u1", "c0_0")]


def test_lanes_may_be_undone_at_once() -> None:
    (group,) = routes(trip(undo_at_once=True)).groups

    assert (group.at_once, group.label) == (True, "undone at once")


def test_within_a_lane_the_order_is_reversed_even_so() -> None:
    assert ("c1_1", "c1_0") in backward(trip(undo_at_once=True))


def test_one_lane_that_can_be_undone_needs_no_group() -> None:
    drawn = plan(step(0), step(1), step(1, branch=1, lane=1, compensation=None), step(2))

    assert routes(drawn).groups == ()
    assert backward(drawn) == [("c2_0", "c1_0"), ("c1_0", "c0_0")]


def test_a_saga_of_independent_steps_is_undone_at_once() -> None:
    drawn = plan(step(0), step(1), step(2, branch=0), step(2, branch=1), undo_at_once=True)

    (group,) = routes(drawn).groups
    assert (group.position, group.at_once) == (None, True)
    assert group.members == ("c0_0", "c1_0", "c2_0", "c2_1")
    assert backward(drawn) == [("c2_1", "c2_0")]


def test_fifty_lanes_have_fifty_ways_in_out_and_to_what_undoes_them() -> None:
    found = routes(wide(50))

    assert len([edge for edge in found.edges if edge.source == "fork1"]) == 50
    assert len([edge for edge in found.edges if edge.target == "join1"]) == 50
    assert len(found.of(EdgeKind.UNDOES)) == 51


# -- the way it went


def test_a_plan_says_nothing_of_ways_taken() -> None:
    assert {edge.taken for edge in routes(trip()).edges} == {None}


def test_the_ways_that_an_instance_went_are_taken() -> None:
    seen = look(
        order(), "compensating", ("compensating", undo("pending")), ("compensated", undo("completed")), "failed"
    )

    found = routes_of(seen.plan, seen.shape)

    assert [(edge.source, edge.target) for edge in found.edges if edge.taken] == [
        ("start", "s0_0"),
        ("s0_0", "s1_0"),
        ("s1_0", "s2_0"),
        ("s0_0", "c0_0"),
        ("s1_0", "c1_0"),
        ("c1_0", "c0_0"),
    ]
    assert {edge.taken for edge in found.edges} == {True, False}


def test_a_group_was_reached_when_one_of_it_was() -> None:
    seen = look(
        trip(), "compensating", ("compensating", undo("running")), "skipped", "skipped",
        ("compensated", undo("completed")), "completed", "failed",
    )  # fmt: skip

    found = routes_of(seen.plan, seen.shape)

    taken = {(edge.source, edge.target) for edge in found.of(EdgeKind.BACKWARD) if edge.taken}
    assert taken == {("u1", "c0_0")}
