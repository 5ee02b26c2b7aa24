"""Catalogues made of tool lists and OpenAPI files load, and what was changed is said."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml

from plangate_core.catalogue.binding_forms import HttpForm
from plangate_core.catalogue.catalogue import Action, Catalogue, Risk, parse_catalogue
from plangate_core.catalogue.importing.imported import ImportRefused
from plangate_core.catalogue.importing.importer import CatalogueDraft, import_catalogue
from tests.support.api_descriptions import code_host_tools, incident_api, monitoring_api


def read(draft: CatalogueDraft) -> Catalogue:
    return parse_catalogue(draft.text)


def action(catalogue: Catalogue, name: str) -> Action:
    found = catalogue.find(name)
    assert found is not None
    return found


def test_an_mcp_servers_tools() -> None:
    draft = import_catalogue(json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": code_host_tools()}}))
    catalogue = read(draft)
    assert draft.actions == len(catalogue.actions) == 117
    assert draft.warnings == catalogue.warnings == ()
    assert draft.notes == (
        "a bound that no number reaches was left out: get_issue.number, create_issue.number, update_issue.number and "
        "89 more",
        "named as a catalogue takes it, not 'invite/collaborator': invite_collaborator",
    )
    risks = [action(catalogue, name).risk for name in ("get_issue", "delete_issue", "create_issue")]
    assert risks == [Risk.UNSPECIFIED, Risk.HIGH, Risk.UNSPECIFIED]
    assert all(each.policy is None for each in catalogue.actions)
    invite = action(catalogue, "invite_collaborator")
    assert catalogue.check_args(invite, {"email": "ann@example.org"})[1] == []
    assert catalogue.check_args(invite, {"email": "ann..lee@example.org"})[1] != []
    create = action(catalogue, "create_issue")
    issue = {"owner": "octo", "repo": "hello", "title": "x", "body": None, "labels": ["bug"]}
    assert catalogue.check_args(create, issue)[1] == []
    assert [error.path for error in catalogue.check_args(create, {**issue, "labels": ["b" * 51]})[1]] == ["labels.0"]


def test_an_openapi_file_with_465_operations() -> None:
    draft = import_catalogue(json.dumps(incident_api()))
    catalogue = read(draft)
    assert draft.actions == len(catalogue.actions) == 465
    assert draft.warnings == ()
    assert {note.partition(":")[0] for note in draft.notes} == {
        "the header Accept is no argument",
        "read as exclusiveMaximum",
        "what may only be read was left out",
        "read as OpenAPI 3.0 means it",
        "a bound that no number reaches was left out",
        "http",
    }
    assert all(isinstance(each.binding, HttpForm) for each in catalogue.actions)
    listing, update, delete = (
        action(catalogue, name) for name in ("listIncidents", "updateIncident", "deleteIncident")
    )
    assert (listing.risk, update.risk, delete.risk) == (Risk.LOW, Risk.MEDIUM, Risk.HIGH)
    assert listing.description == (
        "List incidents. Scoped OAuth requires a matching scope. For more see the documentation."
    )
    assert list(listing.parameters["properties"]) == ["X-From", "limit", "query", "since"]
    assert catalogue.check_args(listing, {})[0] == {"limit": 25}
    assert [error.path for error in catalogue.check_args(listing, {"limit": 100})[1]] == ["limit"]
    arguments = {"key": "P1", "name": "web", "owner": None, "services": [{"id": "S", "type": "user_reference"}]}
    assert catalogue.check_args(update, arguments)[1] == []
    wrong = {**arguments, "services": [{"id": "S", "type": "x"}], "tree": {"children": [{"name": 1}]}, "id": "1"}
    assert {error.path for error in catalogue.check_args(update, wrong)[1]} == {
        "services.0.type",
        "tree.children.0.name",
        "",
    }
    assert update.parameters["required"] == ["key", "name"]


def test_an_openapi_file_in_yaml() -> None:
    draft = import_catalogue(yaml.safe_dump(monitoring_api(), sort_keys=False))
    assert draft.actions == 235
    assert "95" not in draft.notes
    assert len(action(read(draft), "createMonitor").parameters["properties"]) > 95


@pytest.mark.parametrize(
    "document",
    [
        [{"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}}}],
        {"tools": [{"type": "function", "name": "look", "description": "Look.", "strict": True, "parameters": {}}]},
        {"functions": [{"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}]},
        {"tools": [{"name": "look", "description": "Look.", "input_schema": {"type": "object"}}]},
        {"name": "look", "description": "Look.", "parameters": {"type": "object"}},
    ],
)
def test_function_definitions_in_every_wrapping(document: Any) -> None:
    draft = import_catalogue(json.dumps(document))
    [look] = read(draft).actions
    assert (look.name, look.description, look.parameters) == (
        "look",
        "Look.",
        {"type": "object", "additionalProperties": False},
    )
    assert draft.notes == ()


@pytest.mark.parametrize(
    ("hints", "risk", "comment"),
    [
        (
            {"readOnlyHint": True, "idempotentHint": True},
            Risk.UNSPECIFIED,
            "# Its server says readOnlyHint: true, idempotentHint: true.\n",
        ),
        ({"destructiveHint": False}, Risk.UNSPECIFIED, "# Its server says destructiveHint: false.\n"),
        (
            {"destructiveHint": True, "readOnlyHint": True},
            Risk.HIGH,
            "# Its server says readOnlyHint: true, destructiveHint: true.\n",
        ),
        ({"readOnlyHint": "x\n- name: y", "title": "Read"}, Risk.UNSPECIFIED, ""),
    ],
)
def test_a_servers_hints_are_shown_and_make_nothing_lenient(hints: dict[str, Any], risk: Risk, comment: str) -> None:
    draft = tool({"type": "object"}, annotations=hints)
    [act] = read(draft).actions
    assert (act.risk, act.assumed_risk, act.read_only, act.idempotent) == (risk, Risk.HIGH, False, False)
    assert f"actions:\n{comment}- name: act\n" in draft.text


def tool(schema: dict[str, Any], **more: Any) -> CatalogueDraft:
    return import_catalogue(json.dumps([{"name": "act", "description": "Act.", "inputSchema": schema, **more}]))


@pytest.mark.parametrize(
    ("argument", "note"),
    [
        ({"type": "string", "pattern": "("}, "a pattern that cannot be checked was left out: act.x"),
        (
            {"$ref": "https://example.com/s.json"},
            "a reference that leads out of the document takes anything now: act.x",
        ),
        ({"type": "integer", "default": "many"}, "a default that does not fit was left out: act.x"),
        ({"enum": [1, 2**60]}, "choices of 2^53 or more were left out: act.x"),
        ({"type": "string", "required": True}, "required: true in a property means nothing and was left out: act.x"),
        ({"type": "string", "description": "d" * 2_000}, "a description was cut at 1,000 characters: act.x"),
    ],
)
def test_what_is_changed_in_an_argument_is_said(argument: dict[str, Any], note: str) -> None:
    draft = tool({"type": "object", "properties": {"x": argument}})
    assert note in draft.notes
    assert draft.warnings == ()
    assert len(read(draft).actions) == 1


def test_names_and_descriptions_are_made_fit() -> None:
    entries = [
        {"name": "files/read file", "inputSchema": {}},
        {"name": "files/read.file", "description": "x" * 5_000, "inputSchema": {}},
        {"name": "files/read,file", "description": "Other.", "inputSchema": {}},
        {"name": "1st", "description": "First.", "inputSchema": {}},
        {"type": "web_search", "name": "search"},
    ]
    draft = import_catalogue(json.dumps({"tools": entries}))
    names = [each.name for each in read(draft).actions]
    assert names == ["files_read_file", "files_read.file", "files_read_file_2", "_1st"]
    assert "left out search: a tool of the type 'web_search' is the provider's own" in draft.notes
    assert "there is no description, by which models and people choose: files_read_file" in draft.notes
    assert "the description was cut at 4,000 characters: files_read.file" in draft.notes


def test_texts_that_look_like_numbers_stay_texts() -> None:
    choices = ["1e5", "no", "010", "2020-01-01", "=", "0o17", "null", "~", " x", "a: b", "\U0001f600", "1_000"]
    draft = tool({"type": "object", "properties": {"x": {"enum": choices}}})
    assert read(draft).actions[0].parameters["properties"]["x"]["enum"] == choices


def test_schemas_that_multiply_are_described_less_deep() -> None:
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(1, 30):
        reference = {"$ref": f"#/$defs/d{level - 1}"}
        definitions[f"d{level}"] = {"type": "object", "properties": {"a": reference}, "anyOf": [reference, reference]}
    draft = tool({"$defs": definitions, "type": "object", "properties": {"x": {"$ref": "#/$defs/d29"}}})
    assert any("objects nested deeper than this are not described" in note for note in draft.notes)
    assert len(read(draft).actions) == 1


def test_schemas_that_all_refer_to_each_other_end() -> None:
    names = [f"d{number}" for number in range(60)]
    properties = {name: {"$ref": f"#/$defs/{name}"} for name in names}
    definitions = {name: {"type": "object", "properties": properties, "allOf": [{}, {}]} for name in names}
    begun = time.process_time()
    draft = tool({"$defs": definitions, "type": "object", "properties": {**properties, "n": {"type": "integer"}}})
    assert time.process_time() - begun < 30
    [act] = read(draft).actions
    assert read(draft).check_args(act, {"n": "x"})[1] != []


def test_an_action_that_cannot_be_checked_is_left_out_alone() -> None:
    entries = [
        {"name": "bad", "description": "Bad.", "inputSchema": {"properties": {"x": {"type": "strnig"}}}},
        {"name": "good", "description": "Good.", "inputSchema": {}},
    ]
    draft = import_catalogue(json.dumps(entries))
    assert [each.name for each in read(draft).actions] == ["good"]
    assert draft.notes[0].startswith("left out bad: properties.x.type: not a JSON Schema")


def test_operations_of_other_styles() -> None:
    document = {
        "swagger": "2.0",
        "definitions": {"Pet": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
        "paths": {
            "/pets/{id}": {
                "parameters": [{"name": "id", "in": "path", "required": True, "type": "integer", "format": "int64"}],
                "post": {
                    "parameters": [
                        {"name": "id", "in": "query", "type": "string", "enum": ["a", "b"]},
                        {"name": "pet", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Pet"}},
                    ],
                    "responses": {},
                },
                "x-note": "not a method",
            },
            "/upload": {
                "put": {
                    "summary": "Upload a file",
                    "requestBody": {
                        "content": {
                            "multipart/form-data": {
                                "schema": {
                                    "type": "object",
                                    "properties": {"file": {"type": "string", "format": "binary"}},
                                }
                            }
                        }
                    },
                }
            },
        },
    }
    draft = import_catalogue(json.dumps(document))
    post, put = read(draft).actions
    assert (post.name, post.description) == ("post_pets_id", "POST /pets/{id}")
    assert list(post.parameters["properties"]) == ["id", "query_id", "name"]
    assert post.parameters["required"] == ["id", "name"]
    assert (put.name, put.description) == ("put_upload", "Upload a file")
    assert "the body is sent as multipart/form-data, not as JSON: put_upload" in draft.notes
    assert "the query argument id is called query_id: there is another id: post_pets_id" in draft.notes


def test_yaml_is_read_as_it_is_written_or_not_at_all() -> None:
    text = "- name: look\n  description: Look.\n  parameters: {properties: {country: {enum: [de, no, 2020-01-01]}}}\n"
    draft = import_catalogue(text)
    assert read(draft).actions[0].parameters["properties"]["country"]["enum"] == ["de", "no", "2020-01-01"]
    assert draft.notes == (
        "read as text, line:3:50: 'no' would be read as bool: put it in quotes",
        "read as text, line:3:54: '2020-01-01' would be read as timestamp: put it in quotes",
    )
    for lossy in ("  <<: {description: x}\n", "  name: twice\n", "  description: !tag {}\n"):
        with pytest.raises(ImportRefused, match="this YAML would lose something: line:"):
            import_catalogue(f"- name: look\n{lossy}  parameters: {{}}\n")


def test_only_some() -> None:
    draft = import_catalogue(json.dumps(code_host_tools()), ["*_issue*", "get_me"])
    assert draft.actions == 6
    with pytest.raises(ImportRefused, match="there is no action to import whose name is like nothing"):
        import_catalogue(json.dumps(code_host_tools()), ["nothing"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither JSON nor YAML: line:1:1: the text is empty"),
        ("{", "neither JSON nor YAML"),
        ("[]", "neither an MCP tool list"),
        ('{"a": 1}', "neither an MCP tool list"),
        ('{"tools": [{"description": "x"}]}', "neither an MCP tool list"),
        ('{"openapi": "3.0.0"}', "has no paths"),
        ('{"openapi": "3.0.0", "paths": {}}', "has no operations"),
        ('{"tools": []}', "neither an MCP tool list"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_other_documents_are_refused(text: str, words: str) -> None:
    with pytest.raises(ImportRefused, match=words):
        import_catalogue(text)


def test_too_many_actions_are_refused_with_the_way_out() -> None:
    entries = [{"name": f"a{number}", "description": "x", "inputSchema": {}} for number in range(1_001)]
    with pytest.raises(ImportRefused, match="1001 actions are more than the 1000 of a catalogue: choose with --only"):
        import_catalogue(json.dumps(entries))
