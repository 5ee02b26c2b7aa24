"""Which actions of a large catalogue a model is shown."""

from __future__ import annotations

import yaml

from plangate_core.catalogue.catalogue import Catalogue, parse_catalogue
from planner_service.generation.prompt.catalogue_text import catalogue_text
from planner_service.generation.prompt.prompts import build_messages
from planner_service.generation.prompt.selection import MAX_SELECTED_CHARACTERS, shown_actions


def catalogue(count: int) -> Catalogue:
    actions = [
        {"name": f"handle_{index}", "description": f"Handle matter {index}. {'x' * 200}"} for index in range(count)
    ]
    actions.append({"name": "restartService", "description": "Restart a service on a host."})
    actions.append({"name": "water_plants", "description": "Water the plants of a room."})
    return parse_catalogue(yaml.safe_dump({"version": 1, "actions": actions}))


def test_a_catalogue_that_fits_is_shown_whole() -> None:
    small = catalogue(10)
    assert shown_actions(small, "restart", {}) is small


def test_of_a_large_one_the_likeliest_are_shown_in_its_own_order() -> None:
    large = catalogue(500)
    shown = shown_actions(large, "please be restarting nginx", {"task": "watering"})
    names = [action.name for action in shown.actions]
    assert names[-2:] == ["restartService", "water_plants"]
    assert names == [action.name for action in large.actions if action.name in names]
    assert len(catalogue_text(shown.actions)) <= MAX_SELECTED_CHARACTERS + len(names)
    assert shown.find("restartService") is large.find("restartService")
    assert "restartService" in build_messages("x", {}, shown)[0]["content"]


def test_digests_name_the_selection() -> None:
    large = catalogue(500)
    first, again = shown_actions(large, "restart", {}), shown_actions(large, "restart", {})
    other = shown_actions(large, "water", {})
    assert first.digest == again.digest
    assert len({large.digest, first.digest, other.digest}) == 3
