"""OpenAPI 3.x files and Swagger 2.0: each operation is an action, its parameters and JSON body are the arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from plangate_core.catalogue.importing.http_binding import HttpBindingDraft, is_server, server_of
from plangate_core.catalogue.importing.imported import Imported, ImportRefused, texts
from plangate_core.catalogue.importing.schemas import Changes, followed

_METHODS = {
    "get": "low",
    "head": "low",
    "options": "low",
    "post": "medium",
    "put": "medium",
    "patch": "medium",
    "delete": "high",
}
"""Methods, and the risk that they suggest."""
_COMPOSED = frozenset({"allOf", "anyOf", "oneOf", "$ref", "not", "if"})
_PARAMETER_FIELDS = frozenset({"name", "in", "required", "allowEmptyValue", "collectionFormat", "style", "explode"})


def is_openapi(document: Any) -> bool:
    """Whether a document says that it is one."""
    return isinstance(document, Mapping) and ("openapi" in document or "swagger" in document)


def import_openapi(document: Mapping[str, Any], server: str = "") -> Imported:
    """The operations as actions. Raises ImportRefused for a document without any.

    :param server: where bindings send, instead of to the servers that the document names
    """
    if server and not is_server(server):
        raise ImportRefused(f"{server!r} is no server: it must be like https://api.example/v1")
    paths = document.get("paths")
    if not isinstance(paths, Mapping):
        raise ImportRefused("the OpenAPI file has no paths")
    imported = Imported()
    for path, item in paths.items():
        item = followed(item, document)
        for method, risk in _METHODS.items():
            operation = item.get(method)
            if isinstance(operation, Mapping):
                _Operation(document, imported, str(path), method, item, operation, server).add(risk)
    if not imported.actions:
        raise ImportRefused("the OpenAPI file has no operations")
    return imported


class _Operation:
    def __init__(
        self,
        document: Mapping[str, Any],
        imported: Imported,
        path: str,
        method: str,
        item: Mapping[str, Any],
        operation: Mapping[str, Any],
        server: str,
    ) -> None:
        self._document = document
        self._imported = imported
        self._path = path
        self._method = method
        self._item = item
        self._operation = operation
        self._changes = Changes()
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []
        self._binding = HttpBindingDraft(method, path, server or server_of(document, operation, item), document)

    def add(self, risk: str) -> None:
        operation = self._operation
        named = next(texts(operation.get("operationId")), "")
        source_name = named or f"{self._method}_{self._path.strip('/').replace('{', '').replace('}', '')}"
        for parameter in self._parameters():
            self._add_parameter(parameter)
        self._add_body(followed(operation.get("requestBody"), self._document))
        summary, details = (next(texts(operation.get(key)), "") for key in ("summary", "description"))
        if details.startswith(summary):
            summary = ""
        description = f"{summary.rstrip('.')}. {details}" if summary and details else summary or details
        if operation.get("deprecated") is True:
            description = f"{description} (deprecated)".strip()
        schema = {"type": "object", "properties": self._properties}
        if self._required:
            schema["required"] = self._required
        http = self._binding.finished(self._changes)
        if http and self._asks_for_credentials():
            self._changes.add("the http: binding has no credentials yet: headers: {Authorization: {env: NAME}}", "")
        self._imported.add(
            source_name,
            description or f"{self._method.upper()} {self._path}",
            schema,
            risk=risk,
            root=self._document,
            changes=self._changes,
            http=http,
        )

    def _asks_for_credentials(self) -> bool:
        security = self._operation.get("security", self._document.get("security"))
        return isinstance(security, list) and bool(security) and {} not in security

    def _parameters(self) -> Iterator[Mapping[str, Any]]:
        """Those of the path and of the operation, which replaces those of the same name and place."""
        found: dict[tuple[Any, Any], Mapping[str, Any]] = {}
        for holder in (self._item, self._operation):
            listed = holder.get("parameters")
            for entry in listed if isinstance(listed, list) else ():
                parameter = followed(entry, self._document)
                if isinstance(parameter.get("name"), str):
                    found[parameter.get("in"), parameter["name"]] = parameter
        yield from found.values()

    def _add_parameter(self, parameter: Mapping[str, Any]) -> None:
        place, name = parameter.get("in"), parameter["name"]
        if place == "body":
            taken = self._operation.get("consumes", self._document.get("consumes"))
            kinds = taken if isinstance(taken, list) and taken else ["application/json"]
            self._add_body({"content": dict.fromkeys(map(str, kinds), parameter), **parameter})
            return
        if place == "cookie" and parameter.get("required") is True:
            self._binding.refuse("a cookie is required", name)
        if place == "cookie" or (place == "header" and name.lower() in ("authorization", "accept", "content-type")):
            self._changes.add(f"the {place} {name} is no argument: the executor or worker sends it", "")
            return
        schema = parameter.get("schema")
        if not isinstance(schema, Mapping):
            schema = _schema_of_first(parameter.get("content"))
        if not isinstance(schema, Mapping):
            # Swagger 2.0 writes the schema into the parameter.
            schema = {key: value for key, value in parameter.items() if key not in _PARAMETER_FIELDS}
        argument = dict(schema)
        if described := next(texts(parameter.get("description")), ""):
            argument["description"] = described
        required = parameter.get("required") is True or place == "path"
        if added := self._add_argument(name, argument, required=required, place=str(place)):
            self._binding.add_parameter(parameter, added, argument)

    def _add_argument(self, name: str, schema: dict[str, Any], *, required: bool, place: str) -> str:
        """The name that the argument has got; empty for one that may only be read."""
        if schema.get("readOnly") is True:
            self._changes.add("what may only be read was left out", name)
            return ""
        fresh, number = name, 2
        while fresh in self._properties:
            fresh, number = (f"{place}_{name}", number) if number == 2 else (f"{place}_{name}_{number}", number)
            number += 1
        if fresh != name:
            self._changes.add(f"the {place} argument {name} is called {fresh}: there is another {name}", "")
        self._properties[fresh] = schema
        if required:
            self._required.append(fresh)
        return fresh

    def _add_body(self, body: Mapping[str, Any]) -> None:
        content = body.get("content")
        if not isinstance(content, Mapping) or not content:
            return
        kind = next((kind for kind in content if "json" in str(kind)), next(iter(content)))
        media = content[kind]
        schema = media.get("schema") if isinstance(media, Mapping) else None
        if not isinstance(schema, Mapping):
            self._binding.refuse("the body is not described")
            return
        if "json" not in str(kind):
            self._changes.add(f"the body is sent as {kind}, not as JSON", "")
        plain = followed(schema, self._document)
        properties = plain.get("properties")
        required = body.get("required") is True
        if isinstance(properties, Mapping) and properties and not _COMPOSED & plain.keys():
            wanted = plain.get("required")
            names = wanted if required and isinstance(wanted, list) else []
            fields = {}
            for name, held in properties.items():
                argument = dict(held) if isinstance(held, Mapping) else {}
                if added := self._add_argument(str(name), argument, required=name in names, place="body"):
                    fields[str(name)] = added
            self._binding.set_body(str(kind), fields)
            return
        if added := self._add_argument("body", dict(schema), required=required, place="body"):
            self._binding.set_body(str(kind), added)


def _schema_of_first(content: Any) -> Any:
    """The schema of the first media type."""
    media = next(iter(content.values()), None) if isinstance(content, Mapping) else None
    return media.get("schema") if isinstance(media, Mapping) else None
