"""Operations of OpenAPI files become requests that send every argument, or get no binding and a note of the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from plangate_client.executor.catalogue import load_bound_catalogue
from plangate_client.executor.http_binding import HttpBinding, HttpRequest
from plangate_client.executor.template import Values
from plangate_core.catalogue.importing.imported import ImportRefused
from plangate_core.catalogue.importing.importer import CatalogueDraft, import_catalogue
from tests.support.api_descriptions import incident_api, monitoring_api

SERVERS = [{"url": "https://api.example/v1/"}]


def imported(path: str, method: str, operation: dict[str, Any], **document: Any) -> CatalogueDraft:
    whole = {"openapi": "3.1.0", "servers": SERVERS, "paths": {path: {method: {"operationId": "act", **operation}}}}
    return import_catalogue(json.dumps({**whole, **document}))


def bindings(draft: CatalogueDraft, directory: Path) -> dict[str, HttpBinding]:
    """Those that the executor reads."""
    file = directory / "catalogue.yaml"
    file.write_text(draft.text, encoding="utf-8")
    found = {name: action.binding for name, action in load_bound_catalogue(file).actions.items()}
    assert all(isinstance(binding, HttpBinding) for binding in found.values())
    return {name: binding for name, binding in found.items() if isinstance(binding, HttpBinding)}


def sent(draft: CatalogueDraft, directory: Path, **args: Any) -> HttpRequest:
    return bindings(draft, directory)["act"].render(Values(args, {}), {})


def parameter(place: str, name: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"in": place, "name": name, "schema": schema, **more}


@pytest.mark.parametrize("api", [incident_api, monitoring_api])
def test_large_files_become_bindings_that_the_executor_reads(api: Any, tmp_path: Path) -> None:
    draft = import_catalogue(json.dumps(api()))
    assert len(bindings(draft, tmp_path)) == draft.actions


def test_path_query_header_and_body_are_sent(tmp_path: Path) -> None:
    draft = imported(
        "/teams/{team}/members/{id}.json",
        "patch",
        {
            "parameters": [
                parameter("path", "team", {"type": "string"}, required=True),
                parameter("path", "id", {"type": "integer"}, required=True),
                parameter("query", "dry-run", {"type": "boolean"}),
                parameter(
                    "query", "field", {"type": ["array", "null"], "items": {"$ref": "#/components/schemas/Name"}}
                ),
                {"in": "query", "name": "where", "content": {"application/json": {"schema": {"type": "object"}}}},
                parameter("header", "X-Trace", {"type": "string"}),
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/merge-patch+json": {
                        "schema": {
                            "type": "object",
                            "properties": {
                                "id": {"type": "string"},
                                "boss": {"type": ["string", "null"]},
                                "since": {"type": "string", "readOnly": True},
                                "tags": {"type": "array", "items": {"type": "string"}},
                            },
                            "required": ["id"],
                        }
                    }
                },
            },
        },
        components={"schemas": {"Name": {"type": "string"}}},
    )
    assert "http: sends to https://api.example/v1: act" in draft.notes
    args = {"team": "a/b", "id": 7, "body_id": "x", "boss": None}
    request = sent(draft, tmp_path, **args)
    assert (request.method, request.url) == ("PATCH", "https://api.example/v1/teams/a%2Fb/members/7.json")
    assert request.content == b'{"id": "x", "boss": null}'
    assert request.headers == {"Content-Type": "application/merge-patch+json"}
    more = {"dry-run": True, "field": ["a", "b"], "where": {"a": 1}, "X-Trace": "t", "tags": ["u"]}
    request = sent(draft, tmp_path, **args, **more)
    assert request.url.partition("?")[2] == "dry-run=true&field=a&field=b&where=%7B%22a%22%3A1%7D"
    assert request.headers["X-Trace"] == "t"
    assert request.content == b'{"id": "x", "boss": null, "tags": ["u"]}'


def test_a_body_of_alternatives_is_one_argument(tmp_path: Path) -> None:
    body = {"content": {"application/json": {"schema": {"oneOf": [{"type": "object"}, {"type": "array"}]}}}}
    draft = imported("/things", "post", {"requestBody": body})
    assert sent(draft, tmp_path, body=[{"a": 1}]).content == b'[{"a": 1}]'
    assert sent(draft, tmp_path).content is None


def test_swagger_files_name_their_server_and_style_otherwise(tmp_path: Path) -> None:
    listed = {"in": "query", "type": "array", "items": {"type": "string"}}
    operation = {
        "operationId": "act",
        "parameters": [
            {**listed, "name": "tag", "collectionFormat": "multi"},
            {"in": "body", "name": "thing", "schema": {"type": "array", "items": {}}, "required": True},
        ],
    }
    document = {"swagger": "2.0", "host": "h.example", "basePath": "/v2", "schemes": ["http", "https"]}
    draft = import_catalogue(json.dumps({**document, "paths": {"/things": {"post": operation}}}))
    request = sent(draft, tmp_path, tag=["a", "b"], body=[1])
    assert (request.url, request.content) == ("https://h.example/v2/things?tag=a&tag=b", b"[1]")
    operation["parameters"][0]["collectionFormat"] = "csv"
    draft = import_catalogue(json.dumps({**document, "paths": {"/things": {"post": operation}}}))
    assert "http:" not in draft.text.partition("actions:")[2]


@pytest.mark.parametrize(
    ("servers", "url"),
    [
        (
            [{"url": "https://{zone}.h.example", "variables": {"zone": {"default": "eu"}}}],
            "https://eu.h.example/things",
        ),
        ([{"url": "/v1"}], ""),
        ([{"url": "https://{zone}.h.example"}], ""),
        ([{"url": "https://name:word@h.example"}], ""),
        ([{"url": "https://h.example/?a=1"}], ""),
        ([], ""),
    ],
)
def test_only_a_server_with_a_host_is_sent_to(servers: list[Any], url: str, tmp_path: Path) -> None:
    draft = imported("/things", "get", {}, servers=servers)
    if url:
        assert sent(draft, tmp_path).url == url
    else:
        assert bindings(draft, tmp_path) == {}
        assert "there is no http: binding: no server is named with its host: give it by --server: act" in draft.notes


def test_a_given_server_comes_before_all(tmp_path: Path) -> None:
    text = json.dumps({"openapi": "3.1.0", "paths": {"/things": {"get": {"operationId": "act", "servers": SERVERS}}}})
    draft = import_catalogue(text, server="https://other.example/api/")
    assert sent(draft, tmp_path).url == "https://other.example/api/things"
    with pytest.raises(ImportRefused, match=r"'other\.example' is no server"):
        import_catalogue(text, server="other.example")


def test_an_operations_own_server_comes_first(tmp_path: Path) -> None:
    draft = imported("/things", "get", {"servers": [{"url": "http://other.example:8080"}]})
    assert sent(draft, tmp_path).url == "http://other.example:8080/things"


@pytest.mark.parametrize(
    ("security", "document", "noted"),
    [
        ({"security": [{"key": []}]}, {}, True),
        ({}, {"security": [{"key": []}]}, True),
        ({"security": []}, {"security": [{"key": []}]}, False),
        ({"security": [{}, {"key": []}]}, {}, False),
        ({}, {}, False),
    ],
)
def test_credentials_that_are_needed_are_said(security: dict[str, Any], document: dict[str, Any], noted: bool) -> None:
    draft = imported("/things", "get", security, **document)
    assert (
        "the http: binding has no credentials yet: headers: {Authorization: {env: NAME}}: act" in draft.notes
    ) is noted


TEXT = {"type": "string"}
LIST = {"type": "array", "items": TEXT}


@pytest.mark.parametrize(
    ("path", "method", "operation", "reason"),
    [
        ("/a", "options", {}, "OPTIONS is none of a binding's methods: act"),
        ("/a/{id}", "get", {}, "a parameter stands in the path or among the parameters only: act.id"),
        ("/a", "get", {"parameters": [parameter("path", "id", TEXT)]}, "among the parameters only: act.id"),
        ("/a#b", "get", {}, "the path has a fragment: act"),
        ("/a", "get", {"parameters": [parameter("query", "a.b", TEXT)]}, "cannot name the argument: act.a.b"),
        ("/a", "get", {"parameters": [parameter("query", "q", {"type": "object"})]}, "an object is a parameter: act.q"),
        ("/a", "get", {"parameters": [parameter("query", "q", LIST, explode=False)]}, "repeated in the query: act.q"),
        ("/a", "get", {"parameters": [parameter("query", "q", LIST, style="pipeDelimited")]}, "in the query: act.q"),
        ("/a", "get", {"parameters": [parameter("query", "q", {"type": "array", "items": LIST})]}, "query: act.q"),
        ("/a", "get", {"parameters": [parameter("header", "X-Q", LIST)]}, "repeated in the query: act.X-Q"),
        ("/a/{q}", "get", {"parameters": [parameter("path", "q", LIST)]}, "repeated in the query: act.q"),
        ("/a/{q}", "get", {"parameters": [parameter("path", "q", TEXT, style="matrix")]}, "'matrix' of a path: act.q"),
        ("/a", "get", {"parameters": [parameter("header", "Host", TEXT)]}, "it is sent in header: act.Host"),
        ("/a", "get", {"parameters": [parameter("cookie", "c", TEXT, required=True)]}, "a cookie is required: act.c"),
        ("/a", "get", {"parameters": [parameter("formData", "f", TEXT)]}, "it is sent in formData: act.f"),
        (
            "/a",
            "get",
            {"parameters": [{"in": "query", "name": "q", "content": {"text/plain": {"schema": TEXT}}}]},
            "a parameter is not sent as JSON: act.q",
        ),
        (
            "/a",
            "post",
            {"requestBody": {"content": {"text/plain": {"schema": TEXT}}}},
            "the body is sent as text/plain: act",
        ),
        ("/a", "post", {"requestBody": {"content": {"application/json": {}}}}, "the body is not described: act"),
        (
            "/a",
            "get",
            {"requestBody": {"content": {"application/json": {"schema": TEXT}}}},
            "a GET request has no body: act",
        ),
    ],
)
def test_what_a_binding_cannot_say_leaves_it_out(
    path: str, method: str, operation: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    draft = imported(path, method, operation)
    assert bindings(draft, tmp_path) == {}
    assert any(note.startswith("there is no http: binding: ") and note.endswith(reason) for note in draft.notes)
