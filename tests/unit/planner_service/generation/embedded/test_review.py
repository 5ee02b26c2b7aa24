"""The review of the embedded model's reply: refusals of whole plans, made-up arguments, and what is said of each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from plangate_core.catalogue.catalogue import Catalogue, parse_catalogue
from planner_service.generation.embedded.correction.corrector import ReplyCorrector
from planner_service.generation.embedded.correction.omissions import is_stated, omission_probabilities
from planner_service.generation.embedded.correction.profile import PROFILES, profile_of
from planner_service.generation.embedded.correction.profile import QWEN_CODER_PROFILE as PROFILE
from planner_service.generation.embedded.weights import QWEN_CODER_1_5B
from planner_service.generation.reply.draft import NO_CORRECTIONS, Corrections, PlanReply, draft_model, read_draft

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
  - name: restart
    description: Restart a host.
    parameters:
      properties: {host: {type: string}, graceful: {type: boolean}, mode: {enum: [fast, slow]}}
      required: [host]
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


def review(reply: PlanReply, tokens: list[Any], catalogue: Catalogue, request: str) -> Corrections:
    return ReplyCorrector(PROFILE, catalogue, request).of_tokens(reply, tokens)


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
    assert is_stated(name, value, prompt)


@pytest.mark.parametrize(
    ("name", "value"),
    [("assignee", "admin"), ("graceful", True), ("count", 10**400), ("x", None), ("x", []), ("ratio", float("inf"))],
)
def test_not_said(name: str, value: Any) -> None:
    assert not is_stated(name, value, "File a ticket on 7 slow hosts.")


def test_what_was_made_up_is_left_out(catalogue: Catalogue) -> None:
    tokens = plan(ticket("Renew domain", "urgent", PROFILE.omission + 0.01))
    told = said_by(*tokens, catalogue=catalogue)
    corrections = review(told, tokens, catalogue, "Create the ticket 'Renew domain'")
    assert corrections.left_out == {(0, "labels")}
    assert read_draft(told, corrections).jobs[0].action_args == {"title": "Renew domain"}
    assert read_draft(told, NO_CORRECTIONS).jobs[0].action_args["labels"] == ["urgent"]


@pytest.mark.parametrize(
    ("ended", "prompt"),
    [
        (PROFILE.omission - 0.01, "Create the ticket 'Renew domain'"),
        (0.9, "Create the urgent ticket 'Renew domain'"),
        (0.9, "Create the ticket 'Renew domain' with a label"),
    ],
)
def test_what_was_sure_or_said_is_kept(catalogue: Catalogue, ended: float, prompt: str) -> None:
    tokens = plan(ticket("Renew domain", "urgent", ended))
    assert review(said_by(*tokens, catalogue=catalogue), tokens, catalogue, prompt) == NO_CORRECTIONS


def test_what_was_left_out_once_is_left_out_again(catalogue: Catalogue) -> None:
    tokens = plan(ticket("A", "urgent", 0.5), ticket("B", "urgent", 0.0), ticket("C", "other", 0.0))
    corrections = review(said_by(*tokens, catalogue=catalogue), tokens, catalogue, "Tickets A, B and C")
    assert corrections.left_out == {(0, "labels"), (1, "labels")}


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
        assert review(told, tokens, catalogue, "do it, please").left_out == left_out


def test_a_switch_is_left_out_sooner_and_a_choice_later(catalogue: Catalogue) -> None:
    def restart(argument: str, value: str, ended: float) -> list[dict[str, Any]]:
        return [
            token('{"jobs":[{"action_name":"restart","action_args":{"host":"a"'),
            token(',"', (',"', 1 - ended), ("}}", ended)),
            token(f'{argument}":{value}}}}}]}}'),
        ]

    limits = {"graceful": PROFILE.switch_omission, "mode": PROFILE.choice_omission}
    for (argument, limit), value in zip(limits.items(), ("true", '"fast"'), strict=True):
        for ended, left_out in ((limit + 0.01, {(0, argument)}), (limit - 0.01, set())):
            tokens = restart(argument, value, ended)
            reply = said_by(*tokens, catalogue=catalogue)
            assert review(reply, tokens, catalogue, "bounce a").left_out == left_out


def test_what_was_left_out_is_said_with_its_probability(catalogue: Catalogue) -> None:
    tokens = plan(ticket("Renew domain", "urgent", 0.31))
    reply = said_by(*tokens, catalogue=catalogue)
    draft = read_draft(reply, review(reply, tokens, catalogue, "Create the ticket 'Renew domain'"))
    (found,) = draft.corrections
    assert (found.path, found.type) == ("jobs.0.action_args.labels", "left_out")
    assert found.message == "left out labels: the request does not state it, p = 0.31"


def named(*refusals: float) -> list[dict[str, Any]]:
    tokens = [token('{"jobs":[')]
    for number, refusal in enumerate(refusals):
        tokens += [
            token((", " if number else "") + '{"action_name":"'),
            token("find", ("find", 1 - refusal), ("no", refusal)),
            token('_host","action_args":{"name":"kestrel"}}'),
        ]
    return [*tokens, token("]}")]


def test_a_plan_whose_every_job_is_doubted_is_a_refusal(catalogue: Catalogue) -> None:
    for refusals in ((0.4,), (0.4, 0.2)):
        tokens = named(*refusals)
        reply = said_by(*tokens, catalogue=catalogue)
        draft = read_draft(reply, review(reply, tokens, catalogue, "WHOIS?"))
        assert draft.jobs == ()
        assert "the nearest is find_host" in draft.no_action_reason
        assert [found.path for found in draft.corrections] == [""] * len(refusals)
        assert "p = 0.40" in draft.corrections[0].message


def test_a_doubted_job_among_others_stays_with_a_warning(catalogue: Catalogue) -> None:
    tokens = named(0.01, 0.4)
    reply = said_by(*tokens, catalogue=catalogue)
    draft = read_draft(reply, review(reply, tokens, catalogue, "WHOIS?"))
    assert len(draft.jobs) == 2
    (found,) = draft.corrections
    assert found.path == "jobs.1"
    assert found.message == "the model was not sure that any action fits, p = 0.40"


def test_a_finding_names_the_job_by_its_place_in_the_draft(catalogue: Catalogue) -> None:
    refusal = '{"action_name":"no_matching_action","action_args":{"reason":"x"}},'
    tokens = named(0.01, 0.4)
    tokens[0] = token('{"jobs":[' + refusal)
    reply = said_by(*tokens, catalogue=catalogue)
    draft = read_draft(reply, review(reply, tokens, catalogue, "WHOIS?"))
    assert [found.path for found in draft.corrections] == ["jobs.1"]


def test_the_opposite_of_what_is_asked_is_no_refusal(catalogue: Catalogue) -> None:
    tokens = [token('{"jobs":[{"action_name":"open_port","action_args":{"port":22}}]}')]
    reply = said_by(*tokens, catalogue=catalogue)
    assert review(reply, tokens, catalogue, "Close port 22") == NO_CORRECTIONS


def test_a_profile_belongs_to_one_exact_file(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF" + bytes(100))
    assert profile_of(other) is None
    with other.open("r+b") as file:
        file.truncate(QWEN_CODER_1_5B.size_bytes)
    assert profile_of(other) is None, "of the same size only"
    assert profile_of(other, pulled=QWEN_CODER_1_5B) is PROFILES[QWEN_CODER_1_5B.sha256] is PROFILE
