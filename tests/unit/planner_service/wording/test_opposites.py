"""Requests that say the opposite of an action, and those that only sound like it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from plangate_core.catalogue.catalogue import Action, parse_catalogue
from planner_service.wording.opposites import opposite_asked


def action(name: str, **properties: dict[str, Any]) -> Action:
    one = {"name": name, "description": "Does it.", "parameters": {"properties": properties or {"name": {}}}}
    return parse_catalogue(yaml.safe_dump({"version": 1, "actions": [one]})).actions[0]


@pytest.mark.parametrize(
    ("prompt", "name", "asked"),
    [
        ("Close port 22 on bastion-1.", "open_port", "close port"),
        ("Please, revoke tomas's access to atlas", "grant_access", "revoke access"),
        ("First look at web. Then get rid of it by deleting the backups", "create_backup", "deleting backup"),
        ("Unlock the front door", "lockDoor", "unlock door"),
        ("We are disabling all users", "iam.enable_user", "disabling user"),
        ("Cancel my flight to Rome", "book_flight", "cancel flight"),
        ("stopped services", "start_service", "stopped service"),
    ],
)
def test_the_opposite_of_an_action_is_recognised(prompt: str, name: str, asked: str) -> None:
    assert opposite_asked(prompt, action(name)) == asked


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Open port 22 on bastion-1.", "open_port"),
        ("Close port 22 and open port 443", "open_port"),
        ("File a ticket: delete user bob", "create_ticket"),
        ("Post 'delete the ticket' in #general", "create_ticket"),
        ('Write "close port 22" into the log', "open_port"),
        ("Back up ledger, then drop its tables", "create_backup"),
        ("Close it. The port is 22", "open_port"),
        ("Close the incident that began when somebody looked at the port", "open_port"),
        ("Close port 22", "restart"),
        ("Close port 22", "restart_port"),
        ("Close port 22", "open"),
        ("Close port 22", "open_close_port"),
        ("", "open_port"),
    ],
)
def test_what_only_sounds_like_it_is_not(prompt: str, name: str) -> None:
    assert opposite_asked(prompt, action(name)) == ""


@pytest.mark.parametrize(
    "switch", [{"type": "boolean"}, {"type": "string", "enum": ["open", "closed"]}, {"enum": ["enable", "disable"]}]
)
def test_an_action_with_a_switch_may_do_either(switch: dict[str, Any]) -> None:
    assert opposite_asked("Close port 22", action("open_port", port={"type": "integer"})) == "close port"
    assert opposite_asked("Close port 22", action("open_port", state=switch)) == ""


def test_it_is_quick_on_a_prompt_of_nothing_but_verbs() -> None:
    assert opposite_asked("close " * 20_000, action("open_port")) == ""
