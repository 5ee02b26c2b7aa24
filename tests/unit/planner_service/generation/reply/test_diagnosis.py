"""What was wrong, said in the contract's words and never in a provider's."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from typing import Any, Literal

import pydantic
import pytest

from planner_service.generation.attempts import (
    AttemptOutcome,
    Finding,
    RawText,
    bounded_errors,
    recorded_text,
)
from planner_service.generation.errors import GenerationFailed
from planner_service.generation.prompt.prompts import MAX_COMPLAINT, MAX_REASK, TokenEstimate, reask, size
from planner_service.generation.reply.diagnosis import retry_after, schema_errors
from planner_service.generation.reply.draft import draft_model
from planner_service.generation.reply.repair import MAX_REPAIRED, repaired_object
from tests.support.generation import small_catalogue

NOW = dt.datetime(2026, 11, 23, 12, 0, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 +999999999999999"}, None),
        ({"retry-after": "9", "retry-after-ms": "250"}, 0.25),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def errors_of(reply: Any) -> list[Finding]:
    with pytest.raises(pydantic.ValidationError) as caught:
        draft_model(small_catalogue()).model_validate_json(json.dumps(reply))
    return schema_errors(caught.value, ["measure"])


def test_paths_are_those_of_the_reply() -> None:
    def places_of(reply: Any) -> list[tuple[str, str]]:
        return [(error.path, error.type) for error in errors_of(reply)]

    assert places_of({}) == [("jobs", "missing")]
    assert places_of([]) == [("", "model_type")]
    assert places_of({"jobs": []}) == [("jobs", "too_short")]
    assert places_of({"jobs": [{"action_name": "delete_file"}]}) == [("jobs.0.action_args", "missing")]
    tied = {"action_name": "delete_file", "action_args": {}, "depends_on": [0, "1"]}
    assert places_of({"jobs": [tied]}) == [("jobs.0.depends_on.1", "int_type")]
    assert places_of({"jobs": [{**tied, "depends_on": [0] * 101}]}) == [("jobs.0.depends_on", "too_long")]


def test_too_short_is_not_said_beside_what_made_it_short() -> None:
    (error,) = errors_of({"jobs": [{"action_name": "zap", "action_args": {}}]})
    assert error == Finding("jobs.0.action_name", "unknown_action", "There is no such action. The actions are: measure")


def test_many_actions_are_not_all_listed() -> None:
    class Reply(pydantic.BaseModel):
        action_name: Literal["a"]

    with pytest.raises(pydantic.ValidationError) as caught:
        Reply.model_validate({"action_name": "zap"})
    (error,) = schema_errors(caught.value, [f"action_number_{n}" for n in range(500)])
    assert len(error.message) < 400
    assert error.message.endswith(", …")


def test_errors_and_texts_are_bounded() -> None:
    kept = bounded_errors([Finding("", "x", "y" * 9_999)] * 99)
    assert len(kept) == 20
    assert all(len(error.message) <= 500 for error in kept)
    assert len(bounded_errors([Finding("jobs.0.action_args." + "k" * 99_999, "x", "y")])[0].path) == 200
    assert len(recorded_text("x" * 99_999, RawText.KEEP)) == 16_384
    assert recorded_text("secret", RawText.REDACT) == "[6 characters redacted]"
    assert recorded_text("secret", RawText.DROP) == ""


def test_every_failure_has_a_kind_an_outcome_and_a_message() -> None:
    def all_of(kind: type[GenerationFailed]) -> list[type[GenerationFailed]]:
        return [kind, *(each for sub in kind.__subclasses__() for each in all_of(sub))]

    kinds = all_of(GenerationFailed)
    assert len(kinds) == 28
    for kind in kinds:
        assert isinstance(kind.outcome, AttemptOutcome)
        failure = kind("openai/m", **({"token_budget": 1} if kind.__name__ == "BudgetExhausted" else {}))  # type: ignore[arg-type]
        assert failure.errors[0].type == kind.kind
        assert str(failure).startswith(kind.default_message)
    assert len({kind.kind for kind in kinds}) == len(kinds) - 1, "GenerationFailed and ProviderFailed share one"


def test_a_reask_is_bounded_whatever_it_tells() -> None:
    opening = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    errors = tuple(Finding(f"jobs.{n}", "x", "y" * 500) for n in range(20))
    for reply in ("", "short", "long" * 100_000):
        for show in (True, False):
            messages = reask(opening, reply, errors, show_reply=show)
            assert size(messages) <= size(opening) + MAX_REASK + 2
            assert messages[0] == opening[0]
    assert opening == [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert len(reask(opening, "x", errors, show_reply=True)[-1]["content"]) <= MAX_COMPLAINT


def test_tokens_are_estimated_until_they_are_counted() -> None:
    estimate = TokenEstimate()
    assert estimate.of(400) == 100
    estimate.learn(0, 5)
    estimate.learn(5, 0)
    assert estimate.of(400) == 100
    estimate.learn(1_000, 500)
    assert estimate.of(400) == 200


@pytest.mark.parametrize(("counted", "estimated"), [(2**53, 800), (1, 25)])
def test_a_provider_that_counts_wrongly_does_not_decide_what_is_asked_of_it(counted: int, estimated: int) -> None:
    estimate = TokenEstimate()
    estimate.learn(1_000, counted)
    assert estimate.of(400) == estimated


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "text",
    [
        '{"a" ' * 12_000,
        "{" * 60_000,
        "{" + "'\"" * 30_000,
        '{"a":[' * 10_000,
        '{"a":"\\' + '"' * 50_000,
        "{" + '"{' * 9_000,
    ],
    ids=["keys", "braces", "quotes", "nested", "escapes", "mixed"],
)
async def test_repair_of_hostile_text_is_bounded_in_time(text: str) -> None:
    started = time.process_time()
    await repaired_object(text)
    assert time.process_time() - started < 2.0


@pytest.mark.asyncio
async def test_repair_of_a_long_piece_leaves_the_loop_alone() -> None:
    text = '{"a": [' + ", ".join("'x y z'" for _ in range(600)) + "]"
    assert 1_024 < len(text) <= MAX_REPAIRED
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other_work())
    repaired = await repaired_object(text)
    task.cancel()
    assert repaired is not None
    assert len(repaired["a"]) == 600
    assert turns > 1


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["", "no", "[1, 2]", "null", "I will {do} that", '"{'])
async def test_what_is_no_object_is_not_made_one(text: str) -> None:
    repaired = await repaired_object(text)
    assert not repaired or not repaired.keys() & {"objective", "jobs"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "text",
    [
        '{"jobs": [{"path": "/var/lo',
        '{"jobs": [{"path": "/var/log"',
        '{"jobs": [{"path": "/var/log", ',
        '{"jobs": [{"count": 12',
        '{"jobs": [{"dry_run": tr',
        '{"jobs": [{"path": /var/log}]',
        '{"jobs": [{"path": "/var/log\n"}]',
        '{"jobs": [{"amount": 1,000}],}',
        '{"jobs": [{"amount": [1,000]}],}',
        '{"jobs": [{"amount": 10 EUR}],}',
        '{"jobs": [{"mode": 0755}],}',
        '{"jobs": [{"command": "echo }',
    ],
)
async def test_a_value_that_is_not_whole_is_never_made_up(text: str) -> None:
    assert await repaired_object(text) is None


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('{"a": [1, -2.5e3, true, None], "b": "x"', None),
        ('{"a": [1, -2.5e3, true, None], "b": "x",}', {"a": [1, -2500.0, True, None], "b": "x"}),
        ("{'a': 'it\\'s', 'b': {\"c\": \"\\u00e4\\nb\"},}", {"a": "it's", "b": {"c": "\u00e4\nb"}}),
        ('{"a": "he said "hi" there"}', {"a": 'he said "hi" there'}),
        ('```json\n{"a": [{"b": 0}]\n```', {"a": [{"b": 0}]}),
        ('{"a": 1, // why\n "b": ""}', {"a": 1, "b": ""}),
    ],
)
async def test_what_holds_values_together_is_mended(text: str, meant: object) -> None:
    assert await repaired_object(text) == meant
