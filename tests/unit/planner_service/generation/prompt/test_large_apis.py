"""Imported catalogues as large as real ones: the right action is among those shown, whatever the language."""

from __future__ import annotations

import json
from functools import lru_cache

import pytest

from plangate_core.catalogue.catalogue import Catalogue, parse_catalogue
from plangate_core.catalogue.importing.importer import import_catalogue
from planner_service.generation.prompt.catalogue_text import catalogue_text
from planner_service.generation.prompt.selection import CPU_ROOM, HOSTED_ROOM, shown_actions
from tests.support.api_descriptions import code_host_tools, incident_api, monitoring_api

REQUESTS = [
    ("host", "create_issue", "Open an issue in octo/hello titled 'Crash at start': create it"),
    ("host", "create_issue", "Lege in octo/hello ein Issue mit dem Titel 'Absturz beim Start' an"),
    ("host", "create_issue", "octo/helloに「起動時にクラッシュする」というissueを作成して"),
    ("host", "create_issue", "在 octo/hello 里创建一个标题为“启动时崩溃”的 issue"),
    ("incident", "createMaintenanceWindow", "Create a maintenance window for the database service tonight"),
    ("incident", "createMaintenanceWindow", "Lege heute Nacht ein Wartungsfenster für die Datenbank an"),
    ("incident", "createMaintenanceWindow", "今夜データベースのメンテナンスウィンドウを作成して"),
    ("incident", "createMaintenanceWindow", "今晚为数据库创建一个维护窗口"),
    ("monitoring", "createMonitor", "Create a monitor that alerts us when the disk is full"),
    ("monitoring", "createMonitor", "Richte eine Überwachung ein, die meldet, wenn die Platte voll ist"),
    ("monitoring", "createMonitor", "ディスクがいっぱいになったら通知するモニターを作成して"),
    ("monitoring", "createMonitor", "创建一个磁盘写满时报警的监控"),
]


@lru_cache
def catalogue(name: str) -> Catalogue:
    documents = {"host": {"tools": code_host_tools()}, "incident": incident_api(), "monitoring": monitoring_api()}
    return parse_catalogue(import_catalogue(json.dumps(documents[name])).text)


@pytest.mark.parametrize(("name", "wanted", "prompt"), REQUESTS)
def test_hosted_models_are_shown_the_right_action(name: str, wanted: str, prompt: str) -> None:
    whole = catalogue(name)
    shown = shown_actions(whole, prompt, {}, HOSTED_ROOM)
    assert len(shown.actions) == len(whole.actions)
    assert shown.find(wanted) is not None
    assert len(catalogue_text(shown.actions)) <= HOSTED_ROOM.whole_characters


@pytest.mark.parametrize(("name", "wanted", "prompt"), [each for each in REQUESTS if each[2].isascii()])
def test_a_small_model_is_shown_it_when_the_request_has_its_words(name: str, wanted: str, prompt: str) -> None:
    shown = shown_actions(catalogue(name), prompt, {}, CPU_ROOM)
    found = shown.find(wanted)
    assert found is not None
    assert found.description
    assert len(catalogue_text(shown.actions)) <= CPU_ROOM.cut_characters


def test_names_in_a_request_count_in_any_language() -> None:
    shown = shown_actions(
        catalogue("host"), "octo/helloに「起動時にクラッシュする」というissueを作成して", {}, CPU_ROOM
    )
    described = {action.name for action in shown.actions if action.description}
    assert {"create_issue", "update_issue", "list_issues"} <= described


@pytest.mark.parametrize("prompt", [each[2] for each in REQUESTS if each[0] == "host"])
def test_a_small_model_sees_the_names_of_a_hundred_tools(prompt: str) -> None:
    shown = shown_actions(catalogue("host"), prompt, {}, CPU_ROOM)
    assert len(shown.actions) == 117
