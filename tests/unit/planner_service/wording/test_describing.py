"""Descriptions of jobs show what the arguments hold."""

from __future__ import annotations

import itertools

import pytest

from plangate_core.catalogue.catalogue import parse_catalogue
from planner_service.generation.reply.draft import JobDraft
from planner_service.wording.describing import description_of

CATALOGUE = parse_catalogue(
    """
version: 1
actions:
  - name: delete_file
    description: Delete one file. It cannot be brought back.
    parameters: {properties: {path: {type: string}}, required: [path]}
"""
)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("tmp/a.txt", "tmp/a.txt"),
        ("tmp/a\u200b\u202e\u0007.txt", "tmp/a\\u200b\\u202e\\x07.txt"),
        ("tmp/a\nb", "tmp/a\\nb"),
        ("p\u0430yments", "p\\u0430yments"),
        ("größe", "größe"),
        ("報告書", "報告書"),
    ],
)
def test_what_a_screen_would_not_show_as_itself_is_an_escape(path: str, shown: str) -> None:
    job = JobDraft("delete_file", {"path": path})
    assert description_of(job, CATALOGUE) == f"Delete one file (path={shown})"


def test_values_within_values_are_escaped_too() -> None:
    job = JobDraft("delete_file", {"path": {"a": ["\u202e"]}})
    assert description_of(job, CATALOGUE) == 'Delete one file (path={"a": ["\\u202e"]})'


@pytest.mark.parametrize("names", list(itertools.permutations(["replicas", "service", "zone", "area"])))
def test_arguments_stand_in_one_order_however_they_came(names: tuple[str, ...]) -> None:
    catalogue = parse_catalogue(
        "version: 1\nactions: [{name: scale, description: Scale., policy: allow, "
        "parameters: {properties: {service: {type: string}, replicas: {type: string}}}}]"
    )
    args = {name: name for name in names}
    described = description_of(JobDraft("scale", args), catalogue)
    assert described == "Scale (service=service, replicas=replicas, area=area, zone=zone)"
