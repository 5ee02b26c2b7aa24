"""What the probabilities of a reply's tokens say about its jobs."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from planner_service.generation.embedded.correction.doubt import doubts
from planner_service.generation.embedded.correction.profile import QWEN_CODER_PROFILE as PROFILE

ACTIONS = ("restart_service", "notify_team")
PROMPT = "bounce nginx"


def token(text: str, *candidates: tuple[str, float]) -> dict[str, Any]:
    listed = candidates or ((text, 1.0),)
    top = [{"token": word, "logprob": math.log(probability)} for word, probability in listed]
    return {"token": text, "logprob": top[0]["logprob"], "top_logprobs": top}


def reply(*refusal_probabilities: float, word: str = "no", separator: str = "") -> list[dict[str, Any]]:
    """The tokens of a plan with as many jobs, each of which might have been a refusal."""
    tokens = [token('{"jobs":['), token("{")]
    for probability in refusal_probabilities:
        tokens += [token('"action'), token(f'_name"{separator}:{separator}"')]
        tokens.append(token("restart", ("restart", 1 - probability), (word, probability)))
        tokens += [token('_service","action_args":{"service":"nginx"}'), token("},{")]
    return tokens


def doubted_jobs(tokens: list[Any], actions: tuple[str, ...], request: str) -> set[int]:
    return set(doubts(tokens, actions, request, PROFILE))


def test_a_job_is_doubted_from_the_measured_probability_on() -> None:
    assert doubted_jobs(reply(0.001, 0.5, 0.09, PROFILE.refusal), ACTIONS, PROMPT) == {1, 3}


@pytest.mark.parametrize(
    ("prompt", "doubted"),
    [
        ("Restart the service nginx", False),
        ("restarting a few services", False),
        ("restart nginx", True),
        ("the service is bad", True),
        ("", True),
    ],
)
def test_a_request_in_the_words_of_the_actions_name_is_not_doubted(prompt: str, doubted: bool) -> None:
    assert doubted_jobs(reply(0.4), ACTIONS, prompt) == ({0} if doubted else set())


def test_white_space_and_the_tokens_limits_do_not_matter() -> None:
    assert doubted_jobs(reply(0.5, separator=" "), ACTIONS, PROMPT) == {0}
    assert doubted_jobs(reply(0.5, word="no_match"), ACTIONS, PROMPT) == {0}


def test_several_tokens_that_begin_the_refusal_count_together() -> None:
    tokens = [token('{"jobs":[{"action_name":"'), token("x", ("x", 0.82), ("no", 0.09), ("no_", 0.09))]
    assert doubted_jobs(tokens, ACTIONS, PROMPT) == {0}


def test_a_token_that_may_begin_an_action_is_no_doubt() -> None:
    assert doubted_jobs(reply(0.5), (*ACTIONS, "no_op"), PROMPT) == set()
    assert doubted_jobs(reply(0.5), ("notify_team",), PROMPT) == {0}, "notify is a word of its own"
    assert doubted_jobs(reply(0.5, word="n"), ACTIONS, PROMPT) == set()


def test_names_inside_arguments_are_not_jobs() -> None:
    inner = json.dumps({"note": '"action_name":"'})[:-2]
    tokens = [token('{"jobs":[{"action_name":"'), token("restart_service"), token('","action_args":{"action_name":"')]
    tokens.append(token("x", ("x", 0.5), ("no", 0.5)))
    tokens += [token(f'","more":{inner}'), token("y", ("y", 0.5), ("no", 0.5))]
    assert doubted_jobs(tokens, ACTIONS, PROMPT) == set()


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        ["no"],
        [None],
        [{"token": None}],
        [token('{"jobs":[{"action_name":"'), {"token": "no"}],
        [token('{"jobs":[{"action_name":"'), {"token": "no", "top_logprobs": ["no", {"token": 7, "logprob": "x"}]}],
        [token('{"jobs":[{"action_name":"'), {"token": "no", "top_logprobs": [{"token": "no", "logprob": None}]}],
    ],
)
def test_what_is_not_of_the_protocol_is_no_doubt(tokens: list[Any]) -> None:
    assert doubted_jobs(tokens, ACTIONS, PROMPT) == set()


def named(action: str, *candidates: tuple[str, float]) -> list[dict[str, Any]]:
    first = candidates[0][0]
    return [token('{"jobs":[{"action_name":"'), token(first, *candidates), token(action.removeprefix(first))]


@pytest.mark.parametrize(
    ("candidates", "doubted"),
    [
        ((("open", 0.7), ("close", 0.3)), True),
        ((("open", 0.7), ("shut", 0.15), ("Block", 0.15)), True),
        ((("open", 1 - PROFILE.invention), ("close", PROFILE.invention)), True),
        ((("open", 0.9), ("close", 0.1)), False),
        ((("open", 0.6), ("port", 0.4)), False),
        ((("open", 0.6), ("back", 0.2), ("database", 0.2)), False),
        ((("open", 0.6), (" Open", 0.4)), False),
        ((("open", 0.6), ("c", 0.2), ("_", 0.2)), False),
        ((("open", 0.6), ("create", 0.4)), False),
    ],
)
def test_an_action_that_the_model_would_have_liked_is_a_doubt_though_the_request_says_the_rest_of_the_name(
    candidates: tuple[tuple[str, float], ...], doubted: bool
) -> None:
    actions = ("open_firewall_port", "createDatabaseBackup")
    tokens = named("open_firewall_port", *candidates)
    assert doubted_jobs(tokens, actions, "Close the firewall port 22") == ({0} if doubted else set())


def test_the_probability_is_that_of_no_action_fitting() -> None:
    assert doubts(reply(0.001, 0.31), ACTIONS, PROMPT, PROFILE) == pytest.approx({1: 0.31})
