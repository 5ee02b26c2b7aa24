"""Where a plan's steps are drawn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plangate_inbox.views.plan_graph import NODE_HEIGHT, NODE_WIDTH, graph
from plangate_inbox.views.steps import Step


def step(name: str, *after: str) -> Step:
    return Step(name, "act", "", "", "PENDING", "", after, None)


def test_each_step_is_below_all_that_come_before_it() -> None:
    drawn = graph([step("flag", "refund", "unlock"), step("look"), step("refund", "look"), step("unlock")])
    y = {node.step.job_id: node.y for node in drawn.nodes}
    assert y["look"] == y["unlock"] < y["refund"] < y["flag"]
    x = {node.step.job_id: node.x for node in drawn.nodes}
    assert x["refund"] == x["look"]
    assert x["look"] < x["flag"] < x["unlock"]
    assert len(drawn.edges) == 3


def test_circles_and_unknown_steps_are_left_out() -> None:
    drawn = graph([step("a", "b", "nowhere"), step("b", "a")])
    assert len(drawn.nodes) == 2
    assert graph([]).nodes == ()


@given(st.lists(st.sets(st.integers(0, 30), max_size=4), max_size=30))
def test_no_boxes_overlap_and_all_are_within_the_picture(before: list[set[int]]) -> None:
    steps = [step(f"s{n}", *(f"s{other}" for other in others if other < n)) for n, others in enumerate(before)]
    drawn = graph(steps)
    assert len(drawn.nodes) == len(steps)
    for node in drawn.nodes:
        assert 0 <= node.x <= drawn.width - NODE_WIDTH
        assert 0 <= node.y <= drawn.height - NODE_HEIGHT
        for other in drawn.nodes:
            apart = abs(node.x - other.x) >= NODE_WIDTH or abs(node.y - other.y) >= NODE_HEIGHT
            assert node is other or apart
    assert len(drawn.edges) == sum(len(each.after) for each in steps)
