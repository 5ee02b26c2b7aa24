"""Functions as actions: schemas, checks and outcomes, without servers."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from plangate_client import worker
from plangate_client.worker import testing
from plangate_core.catalogue.catalogue import CatalogueInvalid, parse_catalogue


class Refund(BaseModel):
    refund_id: str
    amount: Decimal


@worker.action("refund_order", risk="high")
async def refund(
    order_id: Annotated[str, Field(pattern="^[0-9]{4,10}$", description="The order's number")],
    amount: Annotated[Decimal, Field(gt=0, le=1000)],
    why: Literal["broken", "late"] = "late",
) -> Refund:
    """Pay an order back.

    Not part of the description.
    """
    return Refund(refund_id=f"{worker.current_call().attempt}-{order_id}-{why}", amount=amount)


@worker.action("count", retry_on=(ConnectionError,))
def count(items: list[int], share: float = 0.5, note: Any = None) -> dict[str, Any]:
    """Count."""
    if not items:
        raise ConnectionError("the password is hunter2")
    if items == [0]:
        raise worker.ActionFailed("no such thing", reason="NOT_FOUND", retryable=True, retry_delay_seconds=3)
    return {
        "types": [type(items[0]).__name__, type(share).__name__, type(note).__name__],
        "main": threading.current_thread() is threading.main_thread(),
    }


def test_an_action_is_still_its_function() -> None:
    assert refund.__name__ == "refund"
    assert count([1])["types"] == ["int", "float", "NoneType"]


def test_the_signature_is_the_schema() -> None:
    text = worker.catalogue_yaml([refund, count])
    catalogue = parse_catalogue(text)
    action = catalogue.find("refund_order")
    assert action is not None
    assert (action.description, action.risk.value) == ("Pay an order back.", "high")
    assert action.parameters["required"] == ["order_id", "amount"]
    assert action.parameters["properties"] == {
        "order_id": {"type": "string", "pattern": "^[0-9]{4,10}$", "description": "The order's number"},
        "amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000},
        "why": {"type": "string", "enum": ["broken", "late"], "default": "late"},
    }


def pay_look_up(order_id: str) -> str:
    if order_id == "done":
        return f"r-{worker.current_call().proposal_id}"
    raise worker.NotCarriedOut if order_id == "missing" else OSError("the bank is away")


@worker.action("pay", idempotent=True, effect_key="pay:{args.order_id}", reconcile=pay_look_up)
def pay(order_id: str) -> str:
    """Pay an order."""
    return order_id


@pytest.mark.asyncio
@pytest.mark.parametrize(("order_id", "done"), [("done", True), ("missing", False), ("unclear", None)])
async def test_a_look_up_says_whether_it_was_done(order_id: str, done: bool | None) -> None:
    answer = await pay.look_up({"order_id": order_id}, worker.Call("p", "", 1, "alice"))
    assert answer.done is done
    assert answer.result == ({"value": "r-p"} if done else {})
    assert "away" not in answer.how


def test_what_the_decorator_says_of_repeating_is_in_the_catalogue() -> None:
    action = parse_catalogue(worker.catalogue_yaml([pay])).find("pay")
    assert action is not None
    assert (action.idempotent, action.effect_of({"order_id": "7"})) == (True, "pay:7")
    plain = parse_catalogue(worker.catalogue_yaml([refund])).find("refund_order")
    assert plain is not None
    assert (plain.idempotent, plain.effect_key, plain.read_only) == (False, "", False)
    look_up = worker.action("get_order", description="Look up.", read_only=True)(lambda: {"n": 1})
    found = parse_catalogue(worker.catalogue_yaml([look_up])).find("get_order")
    assert found is not None
    assert found.read_only


def test_a_look_up_takes_the_arguments_of_its_action() -> None:
    other: Any = lambda number: None  # noqa: E731
    with pytest.raises(TypeError, match="reconcile takes other arguments"):
        worker.action("pay", description="Pay.", reconcile=other)(pay.function)
    with pytest.raises(CatalogueInvalid, match="no argument 'nothing'"):
        worker.catalogue_yaml([worker.action("pay", effect_key="{args.nothing}")(pay.function)])


@pytest.mark.asyncio
async def test_numbers_arrive_as_the_schema_says() -> None:
    outcome = await testing.run_job(refund, {"order_id": "4711", "amount": 10}, attempt=2)
    assert outcome.result == {"refund_id": "2-4711-late", "amount": "10"}
    assert (await testing.run_job(refund, {"order_id": "4711", "amount": 89.9})).result["amount"] == "89.9"
    outcome = await testing.run_job(count, {"items": [10], "share": 2, "note": 3})
    assert outcome.result == {"types": ["int", "float", "int"], "main": False}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("args", "approved_by", "reason", "words"),
    [
        ({"order_id": "47", "amount": 1}, ["bob"], "ARGUMENTS_REFUSED", "order_id"),
        ({"order_id": "4711", "amount": 1001}, ["bob"], "ARGUMENTS_REFUSED", "amount"),
        ({"order_id": "4711", "amount": 1, "tip": 1}, ["bob"], "ARGUMENTS_REFUSED", "tip"),
        ({"order_id": "4711"}, ["bob"], "ARGUMENTS_REFUSED", "amount"),
        ({"order_id": "4711", "amount": 1}, [], "CONSENT_MISSING", "missing: 1"),
        # The requester's own yes does not count.
        ({"order_id": "4711", "amount": 1}, ["requester"], "CONSENT_MISSING", "missing: 1"),
        ({"order_id": "4711", "amount": 1}, ["bob"], "", ""),
    ],
)
async def test_a_job_goes_through_the_real_checks(
    args: dict[str, Any], approved_by: list[str], reason: str, words: str
) -> None:
    outcome = await testing.run_job(refund, args, approved_by=approved_by, required_approvals=1)
    assert outcome.reason == reason
    assert words in outcome.message


@pytest.mark.asyncio
async def test_failures_are_outcomes_and_their_texts_stay_here() -> None:
    failed = await testing.run_job(count, {"items": []})
    assert (failed.reason, failed.message, failed.retryable) == ("EXCEPTION", "ConnectionError was raised", True)
    said = await testing.run_job(count, {"items": [0]})
    assert (said.reason, said.message, said.retryable, said.retry_delay_seconds) == (
        "NOT_FOUND",
        "no such thing",
        True,
        3,
    )


@pytest.mark.asyncio
async def test_a_thread_that_is_cancelled_is_waited_for() -> None:
    begun, go = threading.Event(), threading.Event()

    @worker.action("slow")
    def slow() -> str:
        """Take a while."""
        begun.set()
        go.wait(30)
        return "done"

    task = asyncio.create_task(testing.run_job(slow, {}))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go.set()
    assert (await task).result == {"value": "done"}


def test_what_cannot_be_an_action_is_refused_where_it_is_written() -> None:
    def untyped(x) -> None:  # type: ignore[no-untyped-def]
        """No type."""

    def positional(x: int, /) -> None:
        """By position only."""

    def silent(x: int) -> None: ...

    for name, function, words in (
        ("a", untyped, "argument x has no type"),
        ("a", positional, "given by name"),
        ("a", silent, "needs a description"),
        ("no spaces", positional, "cannot be the name"),
    ):
        with pytest.raises(TypeError, match=words):
            worker.action(name)(function)


def test_what_no_catalogue_can_have_is_refused() -> None:
    def around(x: Annotated[str, Field(pattern="(?=a)b")]) -> None:
        """Look around."""

    with pytest.raises(TypeError, match="look-ahead"):
        worker.action("around")(around)
    long = worker.action("long", description="x" * 4001)(lambda: None)
    with pytest.raises(CatalogueInvalid, match="4000"):
        worker.catalogue_yaml([long])


def test_modules_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_actions.py").write_text(
        "from plangate_client import worker\n"
        "@worker.action('one')\ndef one(x: int) -> int:\n    'One.'\n    return x\n"
        "@worker.action('two')\nasync def two() -> None:\n    'Two.'\n"
    )
    (tmp_path / "shop_broken.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.chdir(tmp_path)
    assert set(worker.load_actions("shop_actions")) == {"one", "two"}
    assert set(worker.load_actions("shop_actions:worker")) == {"one", "two"}
    assert set(worker.load_actions("shop_actions:two")) == {"two"}
    for target, words in (
        ("shop_none", "cannot import shop_none"),
        ("shop_broken", "no_such_module_anywhere"),
        ("shop_actions:three", "has no three"),
        ("json", "has no action"),
    ):
        with pytest.raises(worker.WorkerNotFound, match=words):
            worker.load_actions(target)
