"""Complete jobs are found in JSON that comes in any pieces, and broken JSON never raises."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_service.generation.reply.draft import PlanDraft, PlanReply
from planner_service.generation.stream_reconciler import StreamReconciler
from tests.support.generation import Observed

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
arguments = st.lists(st.dictionaries(st.text(max_size=5), values, max_size=3), max_size=5)


def read(*pieces: str) -> Observed:
    observer = Observed()
    stream = StreamReconciler(observer, PlanReply)
    for piece in pieces:
        stream.feed(piece)
    return observer


def job(**args: Any) -> dict[str, Any]:
    return {"action_name": "x", "action_args": args}


@given(
    objective=st.text(max_size=12),
    arguments=arguments,
    before=st.sampled_from(["", "Sure:\n", "```json\n"]),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_any_plan_in_any_pieces(
    objective: str, arguments: list[dict[str, Any]], before: str, indent: int | None, ascii_only: bool, cuts: list[int]
) -> None:
    jobs = [job(**{f"_{name}": value for name, value in args.items()}) for args in arguments]
    plan = {"objective": objective, "nested": {"jobs": [{}, {}]}, "jobs": jobs, "after": [{"jobs": [{}]}]}
    text = before + json.dumps(plan, indent=indent, ensure_ascii=ascii_only)
    places = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    observer = read(*(text[start:end] for start, end in itertools.pairwise(places)))
    assert [kind for kind, _ in observer.news] == ["job"] * len(jobs)
    assert [told.action_args for told in observer.jobs.values()] == [each["action_args"] for each in jobs]


def test_a_job_is_complete_with_its_closing_brace_and_not_before() -> None:
    text = json.dumps({"objective": "x", "jobs": [job(a="}]"), job(b={"c": 1})]})
    observer = Observed()
    stream = StreamReconciler(observer, PlanReply)
    found = []
    for index, character in enumerate(text):
        stream.feed(character)
        if len(observer.jobs) > len(found):
            found.append(index)
    assert found == [text.index('"}]"}}') + 5, text.rindex("}]}")]


@given(st.text(alphabet='{}[]",:\\ jobs', max_size=200))
def test_broken_json_never_raises(text: str) -> None:
    assert read(*text).news == read(text).news


@pytest.mark.parametrize("piece", ["x", '"', "\\", "{", "[", "}", '{"jobs":[{"a":"', '{"jobs":[{"a":"}', "\n"])
def test_hostile_text_takes_bounded_time(piece: str) -> None:
    started = time.process_time()
    assert not read(*[piece] * 50_000).news
    assert time.process_time() - started < 2.0


def test_it_gives_up_where_no_plan_can_be() -> None:
    assert len(read('{"objective": "x", "jobs": [', *[f"{json.dumps(job())}," for _ in range(1_000)]).jobs) == 100


@pytest.mark.parametrize("size", [1, 7, 1_000])
@pytest.mark.parametrize("marks", [("<think>", "</think>"), ("\n <Thinking>", "</thinking>"), ("[THINK]", "[/THINK]")])
def test_jobs_within_thoughts_are_not_found(marks: tuple[str, str], size: int) -> None:
    text = f"{marks[0]}{json.dumps({'jobs': [job(a=1)]})} no{marks[1]}{json.dumps({'jobs': [job(b=2)]})}"
    observer = read(*(text[start : start + size] for start in range(0, len(text), size)))
    assert [told.action_args for told in observer.jobs.values()] == [{"b": 2}]


def test_long_thoughts_take_no_more_than_their_length() -> None:
    began = time.process_time()
    observer = read("<think>", *["hm, "] * 30_000, f"</think>{json.dumps({'jobs': [job()]})}")
    assert len(observer.jobs) == 1
    assert time.process_time() - began < 2


def test_what_the_complete_reply_has_otherwise_is_told_again() -> None:
    observer = Observed()
    stream = StreamReconciler(observer, PlanReply)
    stream.feed(json.dumps({"jobs": [job(a=1), job(b=2)]}))
    stream.settle(PlanDraft("", (observer.jobs[0],)))
    assert observer.news[-1] == ("retracted", ((1,), "the complete reply reads differently"))
    assert list(observer.jobs) == [0]
