"""OpenAPI 3.x files and Swagger 2.0: each operation is an action, its parameters and JSON body are the arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from plangate_core.catalogue.importing.imported import Imported, ImportRefused, texts
from plangate_core.catalogue.importing.schemas import Changes
from plangate_core.catalogue.json_pointer import resolve

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
_MAX_REFERENCES = 16


def is_openapi(document: Any) -> bool:
    """Whether a document says that it is one."""
    return isinstance(document, Mapping) and ("openapi" in document or "swagger" in document)


def import_openapi(document: Mapping[str, Any]) -> Imported:
    """The operations as actions. Raises ImportRefused for a document without any."""
    paths = document.get("paths")
    if not isinstance(paths, Mapping):
        raise ImportRefused("the OpenAPI file has no paths")
    imported = Imported()
    for path, item in paths.items():
        item = _followed(item, document)
        for method, risk in _METHODS.items():
            operation = item.get(method)
            if isinstance(operation, Mapping):
                _Operation(document, imported, str(path), method).add(item, operation, risk)
    if not imported.actions:
        raise ImportRefused("the OpenAPI file has no operations")
    return imported


class _Operation:
    def __init__(self, document: Mapping[str, Any], imported: Imported, path: str, method: str) -> None:
        self._document = document
        self._imported = imported
        self._path = path
        self._method = method
        self._changes = Changes()
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []

    def add(self, item: Mapping[str, Any], operation: Mapping[str, Any], risk: str) -> None:
        named = next(texts(operation.get("operationId")), "")
        source_name = named or f"{self._method}_{self._path.strip('/').replace('{', '').replace('}', '')}"
        for parameter in self._parameters(item, operation):
            self._add_parameter(parameter)
        self._add_body(_followed(operation.get("requestBody"), self._document))
        summary, details = (next(texts(operation.get(key)), "") for key in ("summary", "description"))
        if details.startswith(summary):
            summary = ""
        description = f"{summary.rstrip('.')}. {details}" if summary and details else summary or details
        if operation.get("deprecated") is True:
            description = f"{description} (deprecated)".strip()
        schema = {"type": "object", "properties": self._properties}
        if self._required:
            schema["required"] = self._required
        self._imported.add(
            source_name,
            description or f"{self._method.upper()} {self._path}",
            schema,
            risk=risk,
            root=self._document,
            changes=self._changes,
        )

    def _parameters(self, item: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Those of the path and of the operation, which replaces those of the same name and place."""
        found: dict[tuple[Any, Any], Mapping[str, Any]] = {}
        for holder in (item, operation):
            listed = holder.get("parameters")
            for entry in listed if isinstance(listed, list) else ():
                parameter = _followed(entry, self._document)
                if isinstance(parameter.get("name"), str):
                    found[parameter.get("in"), parameter["name"]] = parameter
        yield from found.values()

    def _add_parameter(self, parameter: Mapping[str, Any]) -> None:
        place, name = parameter.get("in"), parameter["name"]
        if place == "body":
            self._add_body({"content": {"application/json": parameter}, **parameter})
            return
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
        self._add_argument(name, argument, required=parameter.get("required") is True, place=str(place))

    def _add_argument(self, name: str, schema: dict[str, Any], *, required: bool, place: str) -> None:
        fresh, number = name, 2
        while fresh in self._properties:
            fresh, number = (f"{place}_{name}", number) if number == 2 else (f"{place}_{name}_{number}", number)
            number += 1
        if fresh != name:
            self._changes.add(f"the {place} argument {name} is called {fresh}: there is another {name}", "")
        self._properties[fresh] = schema
        if required:
            self._required.append(fresh)

    def _add_body(self, body: Mapping[str, Any]) -> None:
        content = body.get("content")
        if not isinstance(content, Mapping) or not content:
            return
        kind = next((kind for kind in content if "json" in str(kind)), next(iter(content)))
        media = content[kind]
        schema = media.get("schema") if isinstance(media, Mapping) else None
        if not isinstance(schema, Mapping):
            return
        if "json" not in str(kind):
            self._changes.add(f"the body is sent as {kind}, not as JSON", "")
        plain = _followed(schema, self._document)
        properties = plain.get("properties")
        required = body.get("required") is True
        if isinstance(properties, Mapping) and properties and not _COMPOSED & plain.keys():
            wanted = plain.get("required")
            names = wanted if required and isinstance(wanted, list) else []
            for name, held in properties.items():
                if isinstance(held, Mapping) and held.get("readOnly") is True:
                    self._changes.add("what may only be read was left out", str(name))
                    continue
                argument = dict(held) if isinstance(held, Mapping) else {}
                self._add_argument(str(name), argument, required=name in names, place="body")
            return
        self._add_argument("body", dict(schema), required=required, place="body")


def _schema_of_first(content: Any) -> Any:
    """The schema of the first media type."""
    media = next(iter(content.values()), None) if isinstance(content, Mapping) else None
    return media.get("schema") if isinstance(media, Mapping) else None


def _followed(value: Any, document: Any) -> Mapping[str, Any]:
    """What a reference to a component leads to; an empty mapping for what is none."""
    for _ in range(_MAX_REFERENCES):
        reference = value.get("$ref") if isinstance(value, Mapping) else None
        if not isinstance(reference, str):
            break
        value = resolve(document, reference)
    return value if isinstance(value, Mapping) else {}
