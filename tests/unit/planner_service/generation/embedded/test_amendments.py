"""What is changed in the embedded model's reply: made-up arguments, opposites of the request."""

from __future__ import annotations

import math
from typing import Any

import pytest

from plangate_core.catalogue.catalogue import Catalogue, parse_catalogue
from planner_service.generation.embedded.review.amendments import amendments_to
from planner_service.generation.embedded.review.omissions import (
    MIN_OMISSION_PROBABILITY,
    MIN_OMISSION_PROBABILITY_OF_A_CHOICE,
    MIN_OMISSION_PROBABILITY_OF_A_SWITCH,
    is_said,
    omission_probabilities,
    was_nearly_omitted,
)
from planner_service.generation.reply.draft import AS_IT_IS, PlanReply, draft_model, read_draft

CATALOGUE = """
version: 1
actions:
  - name: create_ticket
    description: Create a ticket.
    parameters:
      properties:
        title: {type: string}
        labels: {type: array, items: {type: string}}
        assignee: {type: string}
      required: [title]
  - name: open_port
    description: Open a port.
    parameters: {properties: {port: {type: integer}}, required: [port]}
  - name: find_host
    description: Find a host.
    parameters: {properties: {name: {type: string}, rack: {type: string}}, minProperties: 1}
"""


@pytest.fixture
def catalogue() -> Catalogue:
    return parse_catalogue(CATALOGUE)


def token(text: str, *candidates: tuple[str, float]) -> dict[str, Any]:
    listed = candidates or ((text, 1.0),)
    return {"token": text, "top_logprobs": [{"token": word, "logprob": math.log(share)} for word, share in listed]}


def said_by(*tokens: dict[str, Any], catalogue: Catalogue) -> PlanReply:
    text = "".join(token["token"] for token in tokens)
    return draft_model(catalogue).model_validate_json(text)


def ticket(title: str, label: str, ended: float, another: float = 0.0) -> list[dict[str, Any]]:
    """A job whose `labels` were left out with these probabilities: the object might end, another name might come."""
    return [
        token('{"action_name":"create_ticket","action_args":{"'),
        token("title", ("title", 0.5), ("ti", 0.5)),
        token(f'":"{title}'),
        token('","', ('","', 1 - ended or 1e-9), ('"}}', ended or 1e-9)),
        token("labels", ("labels", 1 - another or 1e-9), ("assign", another or 1e-9)),
        token(f'":["{label}"]'),
        token("}}"),
    ]


def plan(*jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tokens = [token('{"jobs":[')]
    for number, job in enumerate(jobs):
        tokens += [token(",")] * (number > 0) + job
    return [*tokens, token("]}")]


def test_the_probabilities_are_of_ending_and_of_another_name() -> None:
    found = omission_probabilities(plan(ticket("x", "y", 0.4, 0.5), ticket("x", "y", 0.0, 0.25)))
    assert found == pytest.approx({(0, "title"): 0, (0, "labels"): 0.7, (1, "title"): 0, (1, "labels"): 0.25}, abs=1e-6)


def test_white_space_does_not_matter() -> None:
    tokens = [
        token('{ "jobs" : [ { "action_name" : "create_ticket", "action_args" : { "title" : "x"'),
        token(", ", (", ", 0.6), (" }", 0.4)),
        token('"labels" : [] } } ] }'),
    ]
    assert omission_probabilities(tokens)[0, "labels"] == pytest.approx(0.4)


def test_names_within_values_are_no_arguments() -> None:
    text = '{"jobs":[{"action_name":"a","action_args":{"b":{"c":1},"d":["e",{"f":2}],"g":"\\"h\\":1"}}]}'
    assert [name for _, name in omission_probabilities([token(text)])] == ["b", "d", "g"]


@pytest.mark.parametrize(
    "tokens",
    [[], [None], ["x"], [{"token": 7}], [token('{"jobs":[{"a":{"b":1,"'), {"token": 'c":2', "top_logprobs": [7]}]],
)
def test_what_is_not_of_the_protocol_says_nothing(tokens: list[Any]) -> None:
    assert all(probability == 0 for probability in omission_probabilities(tokens).values())


@pytest.mark.parametrize(
    ("name", "value", "prompt"),
    [
        ("assignee", "priya", "give it to Priya"),
        ("labels", ["qa", "flaky"], "label: flaky"),
        ("graceful", True, "restart it gracefully"),
        ("retention_days", 90, "retention: a quarter"),
        ("amount", 1500, "pay back 1,500"),
        ("ratio", 0.5, "at 0.5"),
        ("indicator", ["Goals Scored"], "his goals"),
        ("window", {"amount": 2, "unit": "hours"}, "for 2 h"),
    ],
)
def test_said(name: str, value: Any, prompt: str) -> None:
    assert is_said(name, value, prompt)


@pytest.mark.parametrize(
    ("name", "value"),
    [("assignee", "admin"), ("graceful", True), ("count", 10**400), ("x", None), ("x", []), ("ratio", float("inf"))],
)
def test_not_said(name: str, value: Any) -> None:
    assert not is_said(name, value, "File a ticket on 7 slow hosts.")


def test_what_was_made_up_is_left_out(catalogue: Catalogue) -> None:
    tokens = plan(ticket("Renew domain", "urgent", MIN_OMISSION_PROBABILITY + 0.01))
    told = said_by(*tokens, catalogue=catalogue)
    amendments = amendments_to(told, tokens, catalogue, "Create the ticket 'Renew domain'")
    assert amendments.left_out == {(0, "labels")}
    assert read_draft(told, amendments).jobs[0].action_args == {"title": "Renew domain"}
    assert read_draft(told, AS_IT_IS).jobs[0].action_args["labels"] == ["urgent"]


@pytest.mark.parametrize(
    ("ended", "prompt"),
    [
        (MIN_OMISSION_PROBABILITY - 0.01, "Create the ticket 'Renew domain'"),
        (0.9, "Create the urgent ticket 'Renew domain'"),
        (0.9, "Create the ticket 'Renew domain' with a label"),
    ],
)
def test_what_was_sure_or_said_is_kept(catalogue: Catalogue, ended: float, prompt: str) -> None:
    tokens = plan(ticket("Renew domain", "urgent", ended))
    assert amendments_to(said_by(*tokens, catalogue=catalogue), tokens, catalogue, prompt) == AS_IT_IS


@pytest.mark.parametrize(
    ("schema", "limit"),
    [
        ({"type": "boolean"}, MIN_OMISSION_PROBABILITY_OF_A_SWITCH),
        ({"type": "string", "enum": ["low", "high"]}, MIN_OMISSION_PROBABILITY_OF_A_CHOICE),
        ({"type": "string"}, MIN_OMISSION_PROBABILITY),
        ({}, MIN_OMISSION_PROBABILITY),
    ],
)
def test_a_switch_must_have_been_surer_than_a_choice(schema: dict[str, Any], limit: float) -> None:
    assert was_nearly_omitted(schema, limit)
    assert not was_nearly_omitted(schema, limit - 0.01)


def test_what_was_left_out_once_is_left_out_again(catalogue: Catalogue) -> None:
    tokens = plan(ticket("A", "urgent", 0.5), ticket("B", "urgent", 0.0), ticket("C", "other", 0.0))
    amendments = amendments_to(said_by(*tokens, catalogue=catalogue), tokens, catalogue, "Tickets A, B and C")
    assert amendments.left_out == {(0, "labels"), (1, "labels")}


def test_what_may_not_be_left_out_is_kept(catalogue: Catalogue) -> None:
    required = [
        token('{"jobs":[{"action_name":"create_ticket","action_args":{'),
        token('"title', ('"title', 0.1), ("}", 0.9)),
        token('":"x"}}]}'),
    ]
    one_of_two = [
        token('{"jobs":[{"action_name":"find_host","action_args":{"name":"web"'),
        token(',"', (',"', 0.1), ("}", 0.9)),
        token('rack":"r7"}}]}'),
    ]
    at_least_one = [
        token('{"jobs":[{"action_name":"find_host","action_args":{'),
        token('"name', ('"name', 0.1), ("}", 0.9)),
        token('":"web"}}]}'),
    ]
    for tokens, left_out in ((required, set()), (one_of_two, {(0, "rack")}), (at_least_one, set())):
        told = said_by(*tokens, catalogue=catalogue)
        assert amendments_to(told, tokens, catalogue, "do it, please").left_out == left_out


def test_the_opposite_of_what_is_asked_is_refused_however_sure(catalogue: Catalogue) -> None:
    tokens = [token('{"jobs":[{"action_name":"open_port","action_args":{"port":22}}]}')]
    told = said_by(*tokens, catalogue=catalogue)
    assert amendments_to(told, tokens, catalogue, "Close port 22").refused_jobs == {0}
    assert amendments_to(told, tokens, catalogue, "Open port 22") == AS_IT_IS
