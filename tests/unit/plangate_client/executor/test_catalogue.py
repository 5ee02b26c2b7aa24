"""The executor reads its copy of the catalogue: the documented examples, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from plangate_client.executor.arguments import arguments_fault
from plangate_client.executor.catalogue import load_bound_catalogue
from plangate_client.executor.command_binding import CommandBinding
from plangate_client.executor.http_binding import HttpBinding
from plangate_core.catalogue.catalogue import CatalogueInvalid

ROOT = Path(__file__).parents[4]


def test_the_documented_examples(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "reference" / "bindings.md").read_text(), re.DOTALL)
    file = tmp_path / "catalogue.yaml"
    file.write_text("version: 1\nactions:\n" + "".join(blocks))
    actions = load_bound_catalogue(file).actions
    assert isinstance(actions["archive_logs"].binding, CommandBinding)
    assert isinstance(actions["restart_service"].binding, HttpBinding)
    missing = load_bound_catalogue(file).missing_environment({"OPS_TOKEN": "x"})
    assert [*missing] == [("ARCHIVE_TOKEN", "archive_logs")]


@pytest.mark.parametrize("name", ["demo", "ops"])
def test_the_examples_of_the_repository(name: str) -> None:
    assert load_bound_catalogue(ROOT / "examples" / name / "catalogue.yaml").actions


ACTION = "version: 1\nactions:\n- {name: a, description: b, %s}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: the text is empty"),
        ("[]", "1:1: a mapping is expected"),
        ("actions: [{name: a, description: b, command: {argv: [ls]}}]", "version: Field required"),
        ("version: 1\nactions: 3", "2:10: actions"),
        ("version: 1\nactions: [{description: b, command: {argv: [ls]}}]", "actions.0.name: Field required"),
        ("version: 1\nactions: [3]", "2:11: actions.0: a mapping is expected"),
        (ACTION % "command: {argv: []}", "3:45: actions.0.command.argv"),
        (ACTION % "command: {argv: [ls], shell: true}", "actions.0.command.shell: there is no such field"),
        (ACTION % "command: {argv: [ls], timeout_seconds: 0}", "actions.0.command.timeout_seconds"),
        (ACTION % "command: {argv: [ls]}, http: {method: GET, url: 'http://h/'}", "not both"),
        (ACTION % "http: {method: GET, url: 'file:///etc/passwd'}", "actions.0.http.url"),
        (ACTION % "http: {method: GET, url: 'http://{args.x}/'}", "3:35: actions.0.http: url: scheme and host"),
        (ACTION % "command: {argv: [ls]}" + "- {name: a, description: b, command: {argv: [ls]}}", "given twice"),
        (ACTION % 'command: {argv: ["{args.x}"]}', "3:38: actions.0.command: {args.x} names no argument"),
        (ACTION % "parameters: {type: nonsense}, command: {argv: [ls]}", "actions.0.parameters.type"),
        (ACTION % "parameters: {$ref: 'http://h/s'}, command: {argv: [ls]}", "actions.0.parameters.$ref"),
        (ACTION % "parameters: {properties: {x: {pattern: '('}}}, command: {argv: [ls]}", "x.pattern: the pattern"),
        ("actions: [{name: a, name: b}]", "given twice"),
        ("actions: [{name: a, 2: b, <<: {}}]", "merge keys"),
        ("actions: [{? [a] : b}]", "a key must be text"),
        ("actions: [!!python/object/apply:os.system [ls]]", "tag"),
        ("actions: [", "not YAML"),
        ("[" * 20_000, "nested deeper than 64"),
    ],
)
def test_refuses(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(text)
    with pytest.raises(CatalogueInvalid) as refused:
        load_bound_catalogue(file)
    assert any(message in line for line in refused.value.lines())
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)


def test_keys_are_what_is_written(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(
        ACTION % 'parameters: {properties: {on: {type: string}}, required: ["on"]}, command: {argv: [ls, "x{args.on}"]}'
    )
    action = load_bound_catalogue(file).actions["a"]
    assert arguments_fault({"on": "x"}, action.arguments) == ""
    assert arguments_fault({"off": "x"}, action.arguments) != ""


def test_formats_are_checked_as_the_planner_checks_them(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(ACTION % "parameters: {properties: {host: {format: hostname}}}, command: {argv: [ls]}")
    arguments = load_bound_catalogue(file).actions["a"].arguments
    assert arguments_fault({"host": "web-01.example"}, arguments) == ""
    assert arguments_fault({"host": "-rf /"}, arguments).startswith("host: ")


def test_what_was_agreed_to_is_checked_as_it_is(tmp_path: Path) -> None:
    # The planner filled defaults in before people agreed: what lacks them now was made elsewhere.
    file = tmp_path / "catalogue.yaml"
    file.write_text(
        ACTION % "parameters: {properties: {n: {type: integer, default: 1}}, required: [n]}, command: {argv: [ls]}"
    )
    arguments = load_bound_catalogue(file).actions["a"].arguments
    assert arguments_fault({"n": 1}, arguments) == ""
    assert arguments_fault({}, arguments) == "n: Field required"
