"""Which actions of a large catalogue a model is shown, and how much of each."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from plangate_core.catalogue.catalogue import Catalogue, parse_catalogue
from planner_service.generation.prompt.catalogue_text import action_text, catalogue_text
from planner_service.generation.prompt.prompts import build_messages
from planner_service.generation.prompt.selection import (
    CPU_ROOM,
    HOSTED_ROOM,
    SERVER_ROOM,
    CatalogueBudget,
    catalogue_characters,
    catalogue_room,
    is_cut,
    shown_actions,
)
from planner_service.generation.settings import GenerationSettings


def read(actions: list[dict[str, Any]]) -> Catalogue:
    return parse_catalogue(yaml.safe_dump({"version": 1, "actions": actions}, allow_unicode=True, sort_keys=False))


def catalogue(count: int) -> Catalogue:
    actions = [
        {"name": f"handle_{index}", "description": f"Handle matter {index}. {'x' * 200}"} for index in range(count)
    ]
    actions.append({"name": "restartService", "description": "Restart a service on a host."})
    actions.append({"name": "water_plants", "description": "Water the plants of a room."})
    return read(actions)


def test_a_catalogue_that_fits_is_shown_whole() -> None:
    small = catalogue(10)
    assert shown_actions(small, "restart", {}, CPU_ROOM) is small
    assert not is_cut(small, CPU_ROOM)


def test_of_a_large_one_the_likeliest_are_shown_in_its_own_order() -> None:
    large = catalogue(500)
    shown = shown_actions(large, "please be restarting nginx", {"task": "watering"}, CPU_ROOM)
    names = [action.name for action in shown.actions]
    assert names[-2:] == ["restartService", "water_plants"]
    assert names == [action.name for action in large.actions if action.name in names]
    assert len(catalogue_text(shown.actions)) <= CPU_ROOM.cut_characters
    assert shown.find("restartService") is large.find("restartService")
    assert "restartService" in build_messages("x", {}, shown)[0]["content"]
    assert is_cut(large, CPU_ROOM)


def test_digests_name_the_selection_and_the_same_is_made_once() -> None:
    large = catalogue(500)
    first, again = (shown_actions(large, "handle matter 400", {}, CPU_ROOM) for _ in range(2))
    other = shown_actions(large, "handle matter 401", {}, CPU_ROOM)
    assert first is again
    assert len({large.digest, first.digest, other.digest}) == 3


def monitor(options: int) -> dict[str, Any]:
    words = "It is used when the query is evaluated and in the notification. " * 2
    return {
        "name": "create_monitor",
        "description": "Create a monitor that alerts people.",
        "parameters": {
            "properties": {
                "name": {"type": "string"},
                **{
                    f"option_{number:02}": {"type": "string", "description": f"Sets option {number}. {words}"}
                    for number in range(options)
                },
            },
            "required": ["name"],
        },
    }


@pytest.mark.parametrize("prompt", ["alert me when the disk is full", "mute it", "アラートを作成して"])
def test_an_action_that_is_too_large_is_shown_shortened(prompt: str) -> None:
    large = read([monitor(95), {"name": "mute_monitor", "description": "Mute a monitor."}])
    [action, _] = large.actions
    assert len(action_text(action)) > 13_000
    shown = shown_actions(large, prompt, {}, CPU_ROOM)
    assert [action.name for action in shown.actions] == ["create_monitor", "mute_monitor"]
    assert len(catalogue_text(shown.actions)) <= CPU_ROOM.cut_characters
    assert "- name (string, required)" in catalogue_text(shown.actions)
    # What is right is decided by the whole schema.
    assert shown.check_args(shown.actions[0], {"name": "x", "option_90": "y"})[1] == []
    assert [error.path for error in shown.check_args(shown.actions[0], {"option_90": 1})[1]] == ["option_90", "name"]


def many_actions() -> Catalogue:
    argument = {"type": "string", "description": "Which one of them it is about. " * 8}
    verbs = ("create", "delete", "list", "rename", "archive")
    things = ("branch", "issue", "label", "milestone", "release", "secret", "webhook", "team", "gist", "project") * 2
    return read(
        [
            {
                "name": f"{verb}_{thing}_{number}",
                "description": f"{verb.title()} a {thing} of the repository. {'Useful. ' * 20}",
                "parameters": {"properties": {thing: argument, "note": argument}, "required": [thing]},
            }
            for number, thing in enumerate(things)
            for verb in verbs
        ]
    )


@pytest.mark.parametrize(
    ("characters", "whole", "described", "shown"),
    [(30_000, 10, 100, 100), (12_000, 5, 15, 100), (6_000, 3, 7, 100), (3_000, 1, 1, 50)],
)
def test_the_best_are_whole_and_the_others_shortened(characters: int, whole: int, described: int, shown: int) -> None:
    many, room = many_actions(), CatalogueBudget(characters, characters)
    chosen = shown_actions(many, "rename the milestone v2 of octo/hello", {}, room)
    assert chosen.find("rename_milestone_3") is many.find("rename_milestone_3")
    assert len(catalogue_text(chosen.actions)) <= characters
    assert 0.9 * characters < len(catalogue_text(chosen.actions))
    assert sum(action is many.find(action.name) for action in chosen.actions) >= whole
    assert sum(bool(action.description) for action in chosen.actions) >= described
    assert len(chosen.actions) >= shown
    shortened = [action for action in chosen.actions if action is not many.find(action.name)]
    assert all("Which one" not in action_text(action) for action in shortened)


def test_an_action_that_is_shown_by_its_name_may_be_answered_with() -> None:
    many = many_actions()
    chosen = shown_actions(many, "rename the milestone", {}, CatalogueBudget(6_000, 6_000))
    by_name = next(action for action in chosen.actions if not action.description)
    assert action_text(by_name) == by_name.name
    thing = by_name.name.split("_")[1]
    assert list(by_name.parameters["properties"]) == [thing]
    assert chosen.check_args(by_name, {thing: "x", "note": "y"})[1] == []
    # Examples are made of actions that say what they are for.
    examples = [message["content"] for message in build_messages("x", {}, chosen) if message["role"] == "assistant"]
    assert not any(f'"{by_name.name}"' in example for example in examples)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("octo/helloに「起動時にクラッシュする」というissueを作成して", "create_issue"),
        ("ブランチを削除してください", "delete_branch"),
        ("请删除分支 main-2", "delete_branch_zh"),
        ("أنشئ مشكلة في المستودع octo/hello", "create_issue_ar"),
        ("удали ветку main-2", "delete_branch_ru"),
        ("브랜치를 삭제해줘", "delete_branch_ko"),
        ("ลบสาขา main-2", "delete_branch_th"),
    ],
)
def test_words_of_every_script_choose(prompt: str, name: str) -> None:
    texts = {
        "create_issue": "リポジトリにissueを作成する。",
        "delete_branch": "ブランチを削除する。",
        "delete_branch_zh": "删除一个分支。",
        "create_issue_ar": "إنشاء مشكلة في المستودع.",
        "delete_branch_ru": "Удалить ветку репозитория.",
        "delete_branch_ko": "브랜치 삭제.",
        "delete_branch_th": "ลบสาขาของที่เก็บ",
    }
    fillers = [{"name": f"other_{number}", "description": f"Etwas anderes {number}. " * 9} for number in range(300)]
    large = read([*fillers, *({"name": name, "description": text} for name, text in texts.items())])
    shown = shown_actions(large, prompt, {}, CPU_ROOM)
    assert shown.find(name) is large.find(name)


def test_how_much_a_model_is_shown_is_the_models() -> None:
    def room(asked: str, **settings: Any) -> CatalogueBudget:
        return catalogue_room(asked, GenerationSettings(**settings))

    assert room("openai/gpt-4o") == room("anthropic/claude-sonnet-4") == room("bedrock/x") == HOSTED_ROOM
    assert room("embedded") == room("ollama/qwen3") == CPU_ROOM
    assert room("openai/own", model="openai/own", base_url="http://127.0.0.1:9/v1") == SERVER_ROOM
    assert room("google/gemini", model="openai/own", base_url="http://127.0.0.1:9/v1") == HOSTED_ROOM
    assert room("embedded", catalogue_characters=500) == CatalogueBudget(500, 500)


def test_a_hundred_tools_are_shown_whole_to_a_hosted_model() -> None:
    tools = catalogue(117)
    assert 12_000 < catalogue_characters(tools) < HOSTED_ROOM.whole_characters
    assert shown_actions(tools, "何かして", {}, HOSTED_ROOM) is tools
