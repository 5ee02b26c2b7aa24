"""Complete jobs are found in JSON that comes in any pieces, and broken JSON never raises."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_service.generation.reply.job_reader import JobReader

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
jobs = st.lists(st.dictionaries(st.text(max_size=5), values, max_size=3), max_size=5)


@given(
    objective=st.text(max_size=12),
    jobs=jobs,
    before=st.sampled_from(["", "Sure:\n", "```json\n"]),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_any_plan_in_any_pieces(
    objective: str, jobs: list[dict[str, Any]], before: str, indent: int | None, ascii_only: bool, cuts: list[int]
) -> None:
    plan = {"objective": objective, "nested": {"jobs": [{}, {}]}, "jobs": jobs, "after": [{"jobs": [{}]}]}
    text = before + json.dumps(plan, indent=indent, ensure_ascii=ascii_only)
    reader = JobReader()
    seen: list[int] = []
    places = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    for start, end in itertools.pairwise(places):
        if reader.feed(text[start:end]):
            seen.append(reader.complete)
            so_far = json.loads(reader.plan_so_far)
            assert so_far["jobs"] == jobs[: reader.complete]
            assert so_far["objective"] == objective
    assert reader.complete == len(jobs)
    assert seen == sorted(set(seen))


def test_a_job_is_complete_with_its_closing_brace_and_not_before() -> None:
    text = json.dumps({"objective": "x", "jobs": [{"a": "}]"}, {"b": {"c": 1}}]})
    reader = JobReader()
    found = [index for index, character in enumerate(text) if reader.feed(character)]
    assert found == [text.index('"}]"}') + 4, text.rindex("}]}")]


@given(st.text(alphabet='{}[]",:\\ jobs', max_size=200))
def test_broken_json_never_raises(text: str) -> None:
    reader = JobReader()
    for character in text:
        reader.feed(character)
    other = JobReader()
    other.feed(text)
    assert reader.complete == other.complete


@pytest.mark.parametrize("piece", ["x", '"', "\\", "{", "[", '{"jobs":[{"a":"', "\n"])
def test_it_is_linear_in_what_it_reads(piece: str) -> None:
    reader = JobReader()
    started = time.process_time()
    for _ in range(50_000):
        reader.feed(piece)
    assert time.process_time() - started < 2.0


def test_it_gives_up_where_no_plan_can_be() -> None:
    reader = JobReader()
    reader.feed('{"objective": "x", "jobs": [')
    told = sum(reader.feed("{},") for _ in range(1_000))
    assert told == 100


@pytest.mark.parametrize("size", [1, 7, 1_000])
@pytest.mark.parametrize("marks", [("<think>", "</think>"), ("\n <Thinking>", "</thinking>"), ("[THINK]", "[/THINK]")])
def test_jobs_within_thoughts_are_not_found(marks: tuple[str, str], size: int) -> None:
    text = f'{marks[0]}{{"jobs": [{{"a": 1}}]}} no{marks[1]}{{"jobs": [{{"b": 2}}]}}'
    reader = JobReader()
    for start in range(0, len(text), size):
        reader.feed(text[start : start + size])
    assert reader.complete == 1
    assert json.loads(reader.plan_so_far) == {"jobs": [{"b": 2}]}


def test_long_thoughts_take_no_more_than_their_length() -> None:
    reader = JobReader()
    began = time.process_time()
    reader.feed("<think>")
    for _ in range(30_000):
        reader.feed("hm, ")
    reader.feed('</think>{"jobs": [{}]}')
    assert time.process_time() - began < 2
