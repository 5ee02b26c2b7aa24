"""What a model is asked to answer with, and how its answer is read."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
import yaml
from pydantic import ValidationError

from plangate_core.catalogue.catalogue import Catalogue, parse_catalogue
from planner_service.generation.reply.draft import (
    NO_MATCHING_ACTION,
    JobDraft,
    PlanDraft,
    draft_model,
    read_draft,
    reply_form,
)


def catalogue(*actions: dict[str, Any]) -> Catalogue:
    return parse_catalogue(
        yaml.safe_dump({"version": 1, "actions": [{"description": "Does something.", **action} for action in actions]})
    )


TWO = catalogue(
    {
        "name": "restart",
        "parameters": {"type": "object", "properties": {"host": {"type": "string"}}, "required": ["host"]},
    },
    {"name": "app.scale", "parameters": {"type": "object", "properties": {"replicas": {"type": "integer"}}}},
)


def read(*jobs: dict[str, Any], objective: str = " to do it ") -> PlanDraft:
    return read_draft(draft_model(TWO).model_validate_json(json.dumps({"objective": objective, "jobs": jobs})))


def job(name: str = "restart", **more: Any) -> dict[str, Any]:
    return {"action_name": name, "action_args": {"host": "a"}, **more}


def test_jobs_need_no_other_where_the_model_names_none() -> None:
    draft = read(job(), job(), job())
    assert draft.objective == "to do it"
    assert [one.depends_on for one in draft.jobs] == [(), (), ()]
    assert draft.jobs[0] == JobDraft("restart", {"host": "a"})


def test_dependencies_that_a_model_wrote_are_kept_where_they_are_earlier_jobs() -> None:
    draft = read(job(depends_on=[]), job(NO_MATCHING_ACTION), job(depends_on=[0, 1, 2, 7, -1]), job(depends_on=[2, 2]))
    assert [one.depends_on for one in draft.jobs] == [(), (0,), (1,)]


def test_what_fits_no_action_becomes_a_reason() -> None:
    refusal = {"action_name": NO_MATCHING_ACTION, "action_args": {"reason": " cannot cook "}}
    assert read(refusal) == PlanDraft("to do it", (), "cannot cook")
    partly = read(refusal, job(), {"action_name": NO_MATCHING_ACTION, "action_args": {}})
    assert partly.no_action_reason == "cannot cook no action of the catalogue fits"
    assert [one.depends_on for one in partly.jobs] == [()]


@pytest.mark.parametrize(
    ("reply", "where"),
    [
        ({"objective": "x", "jobs": []}, ("jobs",)),
        ({"objective": "x"}, ("jobs",)),
        ({"objective": 7, "jobs": [job()]}, ("objective",)),
        ({"objective": "x", "jobs": [job("destroy")]}, ("jobs", 0, "action_name")),
        ({"objective": "x", "jobs": [{"action_name": "restart"}]}, ("jobs", 0, "action_args")),
        ({"objective": "x", "jobs": [{"action_name": "restart", "action_args": "a"}]}, ("jobs", 0, "action_args")),
        ({"objective": "x", "jobs": [job()] * 101}, ("jobs",)),
    ],
)
def test_errors_say_where(reply: dict[str, Any], where: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        draft_model(TWO).model_validate_json(json.dumps(reply))
    assert caught.value.errors()[0]["loc"] == where


def test_the_schema_ties_arguments_to_their_action() -> None:
    schema = reply_form(TWO, TWO).model.model_json_schema()
    assert list(schema["properties"]) == ["jobs"]
    valid = jsonschema_rs.validator_for(schema).is_valid
    assert valid({"jobs": [job(), {"action_name": "app.scale", "action_args": {"replicas": 2}}]})
    assert valid({"jobs": [{"action_name": NO_MATCHING_ACTION, "action_args": {"reason": "r"}}]})
    for wrong in (job("app.scale"), job("other"), {"action_name": "restart", "action_args": {}}):
        assert not valid({"jobs": [wrong]})
    assert not valid({"jobs": []})


def test_the_form_of_a_part_is_made_once_and_names_that_part_only() -> None:
    part = TWO.reduced_to((TWO.actions[1],))
    assert reply_form(TWO, part) is reply_form(TWO, part)
    schema = json.dumps(reply_form(TWO, part).model.model_json_schema())
    assert "app.scale" in schema
    assert "restart" not in schema
    assert "$ref" not in schema


def test_a_model_may_be_asked_which_jobs_need_which() -> None:
    asked = reply_form(TWO, TWO, asks_for_ties=True).model.model_json_schema()["properties"]["jobs"]["items"]["anyOf"]
    *actions, refusal = asked
    assert all("depends_on" in each["properties"] and "depends_on" not in each["required"] for each in actions)
    assert "depends_on" not in refusal["properties"]
    assert "depends_on" not in json.dumps(reply_form(TWO, TWO).model.model_json_schema())
