"""Descriptions of made-up APIs as large as real ones: tools of a code host, an incident API, a monitoring API.

They are written as such APIs write them: zod's and pydantic's schemas in the tools, OpenAPI 3.0 with components,
`nullable`, boolean exclusive bounds, int64 formats and read-only fields in the operations.
"""

from __future__ import annotations

from typing import Any

_MAIL = r"^(?!\.)(?!.*\.\.)[A-Za-z0-9_'+\-\.]*[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"

_HOST_THINGS = (
    *("issue", "pull request", "branch", "commit", "file", "release", "tag", "label", "milestone", "review"),
    *("workflow", "workflow run", "secret scanning alert", "code scanning alert", "notification", "gist", "discussion"),
    *("project", "team", "repository", "webhook", "deployment", "environment"),
)
_HOST_VERBS = ("list", "get", "create", "update", "delete")


def code_host_tools() -> list[dict[str, Any]]:
    """117 tools as an MCP server lists them."""
    tools: list[dict[str, Any]] = []
    for thing in _HOST_THINGS:
        for verb in _HOST_VERBS:
            name = f"{verb}_{thing.replace(' ', '_')}{'s' if verb == 'list' else ''}"
            tools.append(
                {
                    "name": name,
                    "title": f"{verb.title()} {thing}",
                    "description": f"{verb.title()} {thing}s in a repository."
                    if verb == "list"
                    else _sentence(verb, thing),
                    "inputSchema": _host_schema(verb, thing),
                    "annotations": {
                        "readOnlyHint": verb in ("list", "get"),
                        **({"destructiveHint": True} if verb == "delete" else {}),
                    },
                }
            )
    tools.append(
        {
            "name": "invite/collaborator",
            "description": "Invite a person to a repository by mail.",
            "inputSchema": {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {"email": {"type": "string", "format": "email", "pattern": _MAIL}},
                "required": ["email"],
                "additionalProperties": False,
            },
        }
    )
    tools.append({"name": "get_me", "description": "Get the authenticated user.", "inputSchema": {"type": "object"}})
    return tools


def _sentence(verb: str, thing: str) -> str:
    sentences = {
        "list": f"List {thing}s in a repository.",
        "get": f"Get the details of one {thing} of a repository, with its author, its state and its links.",
        "create": f"Create a new {thing} in a repository. The caller needs write access to it.",
        "update": f"Update an existing {thing} of a repository; what is not given stays as it is.",
        "delete": f"Delete a {thing} of a repository for good. This cannot be undone.",
    }
    return sentences[verb]


def _host_schema(verb: str, thing: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "owner": {"type": "string", "description": "Repository owner (username or organization)"},
        "repo": {"type": "string", "description": "Repository name"},
    }
    required = ["owner", "repo"]
    if verb == "list":
        properties |= {
            "state": {"type": "string", "enum": ["open", "closed", "all"], "description": "Filter by state"},
            "since": {"type": "string", "description": "Filter by date (ISO 8601 timestamp)"},
            "page": {"type": "number", "minimum": 1, "description": "Page number for pagination (min 1)"},
            "perPage": {"type": "number", "minimum": 1, "maximum": 100, "description": "Results per page"},
        }
    else:
        properties["number"] = {
            "type": "integer",
            "maximum": 9223372036854775807,
            "description": f"Number of the {thing}",
        }
        required += ["number"] if verb != "create" else []
    if verb in ("create", "update"):
        properties |= {
            "title": {"type": "string", "description": f"Title of the {thing}"},
            "body": {
                "anyOf": [{"type": "string"}, {"type": "null"}],
                "default": None,
                "description": "Body in Markdown",
            },
            "labels": {"type": "array", "items": {"$ref": "#/$defs/Label"}, "description": "Labels to apply"},
        }
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    if "labels" in properties:
        schema["$defs"] = {"Label": {"title": "Label", "type": "string", "maxLength": 50}}
    return schema


_INCIDENT_THINGS = (
    *("incident", "service", "escalation policy", "schedule", "user", "team", "maintenance window", "priority", "tag"),
    *("business service", "response play", "status page", "subscriber", "webhook", "integration", "rule", "alert"),
    *(
        "change event",
        "automation action",
        "runner",
        "workflow",
        "trigger",
        "template",
        "report",
        "add-on",
        "extension",
    ),
    *(
        "on-call shift",
        "override",
        "contact method",
        "notification rule",
        "session",
        "license",
        "ruleset",
        "orchestration",
    ),
    *("stakeholder", "postmortem", "role", "field", "dependency", "vendor", "log entry", "note", "conference bridge"),
    *("snooze", "merge", "impact", "audit record"),
)


def incident_api() -> dict[str, Any]:
    """465 operations in OpenAPI 3.0."""
    return _api(_INCIDENT_THINGS, 465, "Incidents")


_MONITORING_THINGS = (
    *("monitor", "dashboard", "metric", "log pipeline", "synthetic test", "downtime", "host", "notebook", "event"),
    *("service level objective", "security rule", "API key", "user", "role", "index", "archive", "integration", "span"),
    *("RUM application", "incident", "workflow", "team", "catalog entity", "restriction policy"),
)


def monitoring_api() -> dict[str, Any]:
    """235 operations in OpenAPI 3.0, one of them with a very large body."""
    document = _api(_MONITORING_THINGS, 235, "Monitoring")
    words = "It is used when the query is evaluated and in the notification. " * 2
    document["components"]["schemas"]["MonitorInput"]["properties"] |= {
        f"option_{number:02}": {"type": "string", "description": f"Sets option {number} of the monitor. {words}"}
        for number in range(95)
    }
    return document


_NODE = {"$ref": "#/components/schemas/Node"}


def _api(things: tuple[str, ...], count: int, title: str) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {
        "Reference": {
            "type": "object",
            "properties": {
                "id": {"type": "string", "description": "The ID of what is referred to."},
                "type": {"type": "string", "enum": ["service_reference", "user_reference", "team_reference"]},
                "self": {"type": "string", "format": "uri", "readOnly": True},
            },
            "required": ["id", "type"],
        },
        "Node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/components/schemas/Node"}},
            },
        },
    }
    made = 0
    for round_ in range(3):
        for thing in things:
            base = f"/{thing.replace(' ', '_').replace('-', '_')}s" + ("" if not round_ else f"/{{id}}/part_{round_}s")
            named = f"{thing} {'' if not round_ else f'part {round_} '}".strip()
            camel = "".join(word.title() for word in named.replace("-", " ").split())
            schemas[f"{camel}Input"] = _input(named)
            operations = [
                (base, "get", f"list{camel}s", f"List {named}s"),
                (base, "post", f"create{camel}", f"Create a {named}"),
                (f"{base}/{{key}}", "get", f"get{camel}", f"Get a {named}"),
                (f"{base}/{{key}}", "put", f"update{camel}", f"Update a {named}"),
                (f"{base}/{{key}}", "delete", f"delete{camel}", f"Delete a {named}"),
            ]
            for path, method, operation_id, summary in operations:
                if made == count:
                    continue
                made += 1
                paths.setdefault(path, {"parameters": _path_parameters(path)})[method] = _operation(
                    method, operation_id, summary, f"{camel}Input"
                )
    assert made == count
    return {
        "openapi": "3.0.3",
        "info": {"title": title, "version": "1"},
        "servers": [{"url": "https://api.example.com"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": {
                "Limit": {
                    "name": "limit",
                    "in": "query",
                    "description": "The number of results per page.",
                    "schema": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 100,
                        "exclusiveMaximum": True,
                        "default": 25,
                    },
                }
            },
        },
    }


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": "The ID of the resource.",
            "schema": {"type": "string"},
        }
        for name in ("id", "key")
        if f"{{{name}}}" in path
    ]


def _operation(method: str, operation_id: str, summary: str, schema: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "summary": summary,
        "description": f"{summary}. Scoped OAuth requires a matching scope. For more see the documentation.",
        "parameters": [
            {"name": "Accept", "in": "header", "schema": {"type": "string"}},
            {
                "name": "X-From",
                "in": "header",
                "description": "Mail address of the caller.",
                "schema": {"type": "string"},
            },
        ],
        "responses": {"200": {"description": "OK"}},
    }
    if operation_id.startswith("list"):
        operation["parameters"] += [{"$ref": "#/components/parameters/Limit"}, _QUERY, _SINCE]
    if method in ("post", "put"):
        reference = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
        operation["requestBody"] = {"required": True, "content": {"application/json": reference}}
    return operation


_QUERY = {"name": "query", "in": "query", "description": "Filters by name.", "schema": {"type": "string"}}
_SINCE = {"name": "since", "in": "query", "schema": {"type": "string", "format": "date-time"}}


def _input(thing: str) -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/Reference"}
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string", "readOnly": True},
            "name": {"type": "string", "description": f"The name of the {thing}.", "example": "web"},
            "summary": {"type": "string", "nullable": True, "description": f"A short description of the {thing}."},
            "urgency": {"type": "string", "enum": ["high", "low"], "default": "high"},
            "owner": {"allOf": [reference], "description": "Who is responsible.", "nullable": True},
            "services": {"type": "array", "items": reference},
            "tree": _NODE,
            "timeout": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 9223372036854775807},
        },
        "required": ["id", "name"],
    }
