"""What is told of which event, and to whom."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2, proposal_pb2

from plangate_inbox.notifications.bodies import body_of, signature
from plangate_inbox.notifications.notification import Notification, before_expiry, concerns, from_event, worded
from plangate_inbox.notifications.notify_file import ReceiverForm

URL = "https://plangate.example.org"


def event(kind: str, state: str = "PENDING", **fields: Any) -> event_pb2.Event:
    proposal = proposal_pb2.Proposal(
        id="p1",
        action_name="refund_order",
        description=fields.pop("description", "Pay 20 back"),
        created_by="ria",
        reviewer_role="finance",
        required_approvals=2,
        state=proposal_pb2.ProposalState.Value(f"PROPOSAL_STATE_{state}"),
        **fields,
    )
    return event_pb2.Event(revision=7, kind=kind, actor="ria", proposal=proposal)


def told(kind: str, state: str = "PENDING", **fields: Any) -> Notification:
    notification = from_event(event(kind, state, **fields), "room", URL)
    assert notification is not None
    return notification


def receiver(**fields: Any) -> ReceiverForm:
    given = {"name": "room", "events": ["waiting", "ended"], "command": {"argv": ["x"]}, **fields}
    return ReceiverForm.model_validate(given)


@pytest.mark.parametrize(
    ("kind", "state", "expected"),
    [
        ("proposal.created", "PENDING", "waiting"),
        ("proposal.submitted", "PENDING", "waiting"),
        ("proposal.updated", "PENDING", "revised"),
        ("proposal.executed", "EXECUTED", "ended"),
        ("proposal.rejected", "REJECTED", "ended"),
        ("proposal.expired", "EXPIRED", "ended"),
        ("proposal.created", "DRAFT", None),
        ("proposal.updated", "DRAFT", None),
    ],
)
def test_which_events_are_told(kind: str, state: str, expected: str | None) -> None:
    notification = from_event(event(kind, state), "room", URL)
    assert (notification.event if notification else None) == expected


def test_who_decides_is_told_once_the_facts_are_there() -> None:
    outstanding = plan_pb2.Fact(action_name="get_order")
    known = plan_pb2.Fact(action_name="get_order", end_time=Timestamp(seconds=1))
    for kind in ("proposal.created", "proposal.updated", "proposal.fact_recorded"):
        assert from_event(event(kind, facts=[known, outstanding]), "room", URL) is None
    assert told("proposal.fact_recorded", facts=[known, known]).event == "waiting"
    assert from_event(event("proposal.executed", "EXECUTED", fact_for="p0"), "room", URL) is None


def test_it_says_what_to_do_and_where() -> None:
    notification = told("proposal.created")
    assert notification.subject == "Please decide: Pay 20 back"
    assert "It waits for 2 approvals by finance." in notification.text
    assert notification.link == f"{URL}/proposals/p1"
    assert notification.text.endswith(notification.link)


def test_an_id_stays_and_is_the_receivers_own() -> None:
    assert told("proposal.created").id == told("proposal.created").id
    other = from_event(event("proposal.created"), "other room", URL)
    assert other is not None
    assert other.id != told("proposal.created").id
    assert before_expiry(event("x").proposal, "room", URL).id != told("proposal.created").id


@pytest.mark.parametrize(
    ("wanted", "hears"),
    [
        ({}, True),
        ({"role": "finance"}, True),
        ({"role": "legal"}, False),
        ({"requester": "ria"}, True),
        ({"requester": "lea"}, False),
        ({"actions": ["refund_*"]}, True),
        ({"actions": "unlock_*"}, False),
        ({"events": ["revised"]}, False),
    ],
)
def test_who_hears_of_it(wanted: dict[str, Any], hears: bool) -> None:
    assert concerns(told("proposal.created"), receiver(**wanted)) is hears


def test_own_words_are_templates_over_texts() -> None:
    own = receiver(subject="[{{ action }}]\n{{ title }}", text="{{ requester }} asks: {{ link }}")
    assert worded(told("proposal.created"), own) == (
        "[refund_order] Pay 20 back",
        f"ria asks: {URL}/proposals/p1",
    )


HOSTILE = "<!channel> [click](http://evil) p\u0430ypal \u202etxt.exe\nSubject: x"


def test_foreign_text_is_text_in_every_form() -> None:
    notification = told("proposal.created", description=HOSTILE)
    assert "\n" not in notification.title
    assert "\u202e" not in notification.text
    assert "p\\u0430ypal" in notification.title
    subject, text = worded(notification, receiver())
    slack = body_of("slack", notification, subject, text)
    assert "<!channel>" not in slack["text"]
    assert slack["blocks"][0]["text"]["type"] == "plain_text"
    assert slack["blocks"][1]["elements"][0]["url"] == notification.link
    teams = body_of("teams", notification, subject, text)
    card = teams["attachments"][0]["content"]
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert card["actions"][0]["url"] == notification.link
    own = body_of("plangate", notification, subject, text)
    assert (own["id"], own["event"], own["roles"]) == (notification.id, "waiting", ["finance"])
    json.dumps([slack, teams, own])


def test_signatures_cover_the_time() -> None:
    # Computed with: printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
    digest = "b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
    assert signature(b"secret", 1_700_000_000, b"{}") == f"t=1700000000,v1={digest}"
    assert digest not in signature(b"secret", 1_700_000_001, b"{}")
