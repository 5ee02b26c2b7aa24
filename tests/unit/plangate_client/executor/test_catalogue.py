"""The executor reads its copy of the catalogue: the documented examples, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from plangate_client.executor.catalogue import CatalogueInvalid, load_bound_catalogue
from plangate_client.executor.command_binding import CommandBinding
from plangate_client.executor.http_binding import HttpBinding

ROOT = Path(__file__).parents[4]


def test_the_documented_examples(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "executor.md").read_text(), re.DOTALL)
    file = tmp_path / "catalogue.yaml"
    file.write_text("actions:\n" + "".join(blocks))
    actions = load_bound_catalogue(file).actions
    assert isinstance(actions["archive_logs"].binding, CommandBinding)
    assert isinstance(actions["restart_service"].binding, HttpBinding)
    assert load_bound_catalogue(file).missing_environment({"OPS_TOKEN": "x"}) == {"ARCHIVE_TOKEN": ["archive_logs"]}


@pytest.mark.parametrize("name", ["demo", "ops"])
def test_the_examples_of_the_repository(name: str) -> None:
    assert load_bound_catalogue(ROOT / "examples" / name / "catalogue.yaml").actions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no list of actions"),
        ("[]", "no list of actions"),
        ("actions: 3", "no list of actions"),
        ("actions: [{command: {argv: [ls]}}]", "action 1 has no name"),
        ("actions: [3]", "action 1 has no name"),
        ("actions: [{name: a, command: {argv: []}}]", "command.argv"),
        ("actions: [{name: a, command: {argv: [ls], shell: true}}]", "command.shell"),
        ("actions: [{name: a, command: {argv: [ls], timeout_seconds: 0}}]", "command.timeout_seconds"),
        ("actions: [{name: a, command: {argv: [ls]}, http: {method: GET, url: 'http://h/'}}]", "one of them"),
        ("actions: [{name: a, http: {method: GET, url: 'file:///etc/passwd'}}]", "http.url"),
        ("actions: [{name: a, command: {argv: [ls]}}, {name: a, command: {argv: [ls]}}]", "given twice"),
        ("actions: [{name: a, parameters: {type: nonsense}, command: {argv: [ls]}}]", "parameters"),
        ("actions: [{name: a, parameters: {$ref: 'http://h/s'}, command: {argv: [ls]}}]", "parameters"),
        (
            "actions: [{name: a, parameters: {properties: {x: {pattern: '(?=a)'}}}, command: {argv: [ls]}}]",
            "parameters",
        ),
        ("actions: [{name: a, name: b}]", "given twice"),
        ("actions: [{name: a, 2: b, <<: {}}]", "a key must be text"),
        ("actions: [!!python/object/apply:os.system [ls]]", "not YAML"),
        ("actions: [", "not YAML"),
        ("[" * 20_000, "not YAML"),
    ],
)
def test_refuses(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(text)
    with pytest.raises(CatalogueInvalid, match=re.escape(message)) as refused:
        load_bound_catalogue(file)
    assert "\n" not in str(refused.value)


def test_keys_are_what_is_written(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(
        "actions: [{name: a, parameters: {properties: {on: {type: string}}, required: [on]},"
        ' command: {argv: [ls, "x{args.on}"]}}]'.replace("required: [on]", 'required: ["on"]')
    )
    action = load_bound_catalogue(file).actions["a"]
    assert action.arguments.fault({"on": "x"}) == ""
    assert action.arguments.fault({"off": "x"}) != ""


def test_formats_are_checked_as_the_planner_checks_them(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text("actions: [{name: a, parameters: {properties: {host: {format: hostname}}}, command: {argv: [ls]}}]")
    arguments = load_bound_catalogue(file).actions["a"].arguments
    assert arguments.fault({"host": "web-01.example"}) == ""
    assert arguments.fault({"host": "-rf /"}).startswith("host: ")
