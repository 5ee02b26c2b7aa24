"""Errors of providers, in all forms they come in."""

from __future__ import annotations

from typing import Any

import pytest

from planner_service.generation import errors
from planner_service.generation.providers.complaint import MAX_REASON, body_of, complaint_of, failure_of


def failure(status: int, body: Any, key: str = "") -> errors.GenerationFailed | None:
    complaint = complaint_of(status, body, key=key)
    return None if complaint is None else failure_of(complaint, "openai/m")


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "text",
        None,
        {"error": None},
        {"choices": [{"message": {"content": "x"}}], "error": {}},
        {"choices": [None]},
        {"type": "message_start", "message": {"usage": {}}},
        {"message": {"role": "assistant"}},
    ],
)
def test_what_holds_no_error_under_200_is_no_complaint(body: Any) -> None:
    assert failure(200, body) is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, {"error": "boom"}, errors.ServerFailed),
        (200, {"error": {"type": "overloaded_error", "message": "busy"}}, errors.ServerFailed),
        (200, {"type": "error", "error": {"type": "rate_limit_error"}}, errors.RateLimited),
        (200, {"type": "error", "error": {"type": "authentication_error"}}, errors.CredentialsRejected),
        (200, {"object": "error", "message": "no", "code": 404}, errors.ModelUnknown),
        (200, {"message": "slow down", "code": "429"}, errors.RateLimited),
        (400, {"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}}, errors.ModelRefused),
        (400, {"error": {"code": "json_validate_failed", "message": "x"}}, errors.RejectedByServer),
        (400, {"error": {"message": "Your credit balance is too low"}}, errors.CreditSpent),
        (402, "Payment Required", errors.CreditSpent),
        (402, None, errors.CreditSpent),
        (400, {"detail": "This model's maximum context length is 8 tokens"}, errors.PromptTooLong),
        (413, "", errors.PromptTooLong),
        (404, "<html>not here</html>", errors.ModelUnknown),
        (409, {}, errors.ServerFailed),
        (425, {}, errors.ServerFailed),
        (301, "moved", errors.ServerFailed),
        (529, {"error": {"type": "overloaded_error"}}, errors.ServerFailed),
        (418, {"errors": [{"message": "no"}]}, errors.RequestRejected),
    ],
)
def test_what_it_says_decides_and_then_its_status(status: int, body: Any, kind: type[errors.GenerationFailed]) -> None:
    assert type(failure(status, body)) is kind


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        ("key sk-proj-abc123DEF456 is wrong", "key [key] is wrong"),
        ("Bearer abcdefgh", "[key]"),
        ("AIzaSyA1234567890abcdefg", "[key]"),
        ("token 0123456789abcdef0123456789abcdef expired", "token [key] expired"),
        ("The model claude-sonnet-4-5-20250929 does not exist", "The model claude-sonnet-4-5-20250929 does not exist"),
        ("my own pass-phrase here", "my own [key] here"),
    ],
)
def test_keys_are_masked_and_names_of_models_are_not(said: str, masked: str) -> None:
    complaint = complaint_of(401, {"error": {"message": said}}, key="pass-phrase")
    assert complaint is not None
    assert complaint.reason == masked


def test_a_reason_is_one_bounded_line_that_shows_what_is_in_it() -> None:
    complaint = complaint_of(400, {"error": {"message": "no\n\tsuch \u202e thing" + " very" * 999}})
    assert complaint is not None
    assert len(complaint.reason) <= MAX_REASON
    assert complaint.reason.startswith("no such \\u202e thing very")


def test_the_value_that_a_server_repeats_is_not() -> None:
    detail = [{"loc": ["body", "messages", 0, "content"], "msg": "too long", "input": "the prompt"}]
    complaint = complaint_of(422, {"detail": detail})
    assert complaint is not None
    assert complaint.reason == "messages.0.content: too long"


def test_hostile_bodies_are_read_within_reason() -> None:
    deep: Any = "x"
    for _ in range(500):
        deep = {"error": deep}
    assert failure(400, deep) is not None
    assert failure(400, {"errors": ["x" * 1_000_000] * 1_000}) is not None
    assert body_of(b"[" * 100_000) == "[" * 4_000
