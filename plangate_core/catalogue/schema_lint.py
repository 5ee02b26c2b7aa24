"""What is odd in a schema that JSON Schema itself takes: keywords that do not exist, and what no value can meet."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from plangate_core.catalogue.schema_bounds import IN_PLACE, MAX_SCHEMA_DEPTH, JsonPath, subschemas
from plangate_core.catalogue.stated_format import stated_pattern

_KNOWN = frozenset(
    {
        *("$anchor", "$comment", "$defs", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef"),
        *("$ref", "$schema", "$vocabulary", "additionalItems", "additionalProperties", "allOf", "anyOf", "const"),
        *("contains", "contentEncoding", "contentMediaType", "contentSchema", "default", "definitions"),
        *("dependencies", "dependentRequired", "dependentSchemas", "deprecated", "description", "else", "enum"),
        *("examples", "exclusiveMaximum", "exclusiveMinimum", "format", "id", "if", "items", "maxContains", "maxItems"),
        *("maxLength", "maxProperties", "maximum", "minContains", "minItems", "minLength", "minProperties", "minimum"),
        *("multipleOf", "not", "oneOf", "pattern", "patternProperties", "prefixItems", "properties", "propertyNames"),
        *("readOnly", "required", "then", "title", "type", "unevaluatedItems", "unevaluatedProperties", "uniqueItems"),
        *("writeOnly", "discriminator", "example", "externalDocs", "xml"),
    }
)
"""Of all drafts, and those of OpenAPI that describe. Keywords that begin with x- are the author's own."""
_COMPOSED = frozenset(
    {"allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef", "$recursiveRef", "dependentSchemas", "patternProperties"}
)
_PAIRS = (
    ("minimum", "maximum"),
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
    ("minContains", "maxContains"),
)
_SHOWN_CHOICES = 3


def oddities(schema: dict[str, Any]) -> Iterator[tuple[JsonPath, str]]:
    """Path and words for each. The schema is one that was found usable."""
    return _oddities(schema, (), asserted=True)


def _oddities(schema: Any, path: JsonPath, *, asserted: bool) -> Iterator[tuple[JsonPath, str]]:
    if not isinstance(schema, dict) or len(path) > 3 * MAX_SCHEMA_DEPTH:
        return
    for keyword in schema:
        if keyword not in _KNOWN and not keyword.startswith("x-"):
            yield (*path, keyword), _unknown(keyword, schema[keyword], path)
    if asserted:
        yield from _undeclared(schema, path)
    yield from _impossible(schema, path)
    yield from _stated(schema, path)
    for keyword, key, child in subschemas(schema):
        # A branch may require what the schema around it declares.
        yield from _oddities(child, (*path, keyword, *key), asserted=keyword not in IN_PLACE)


def _unknown(keyword: str, value: Any, path: JsonPath) -> str:
    if close := difflib.get_close_matches(keyword, _KNOWN, n=1, cutoff=0.75):
        return f"there is no such keyword in JSON Schema; did you mean {close[0]}?"
    if not path and isinstance(value, dict):
        return "there is no such keyword in JSON Schema: declare arguments under properties"
    return "there is no such keyword in JSON Schema: it means nothing"


def _undeclared(schema: dict[str, Any], path: JsonPath) -> Iterator[tuple[JsonPath, str]]:
    required, properties = schema.get("required"), schema.get("properties", {})
    if not isinstance(required, list) or not isinstance(properties, dict) or _COMPOSED & schema.keys():
        return
    closed = schema.get("additionalProperties") is False
    if not closed and (path and "properties" not in schema):
        return
    for index, name in enumerate(required):
        if isinstance(name, str) and name not in properties:
            close = difflib.get_close_matches(name, properties, n=1, cutoff=0.75)
            hint = f"; did you mean {close[0]}?" if close else ""
            effect = "no arguments are ever valid" if closed else "it has no description"
            yield (*path, "required", index), f"{name} is required, but not declared under properties: {effect}{hint}"


def _stated(schema: dict[str, Any], path: JsonPath) -> Iterator[tuple[JsonPath, str]]:
    description = schema.get("description")
    if schema.get("type") != "string" or {"pattern", "format", "enum", "const"} & schema.keys():
        return
    if isinstance(description, str) and (pattern := stated_pattern(description)):
        yield (*path, "description"), f"the form that it states is not checked: write pattern: {json.dumps(pattern)}"


def _impossible(schema: dict[str, Any], path: JsonPath) -> Iterator[tuple[JsonPath, str]]:
    for least, most in _PAIRS:
        low, high = schema.get(least), schema.get(most)
        if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
            yield (*path, least), f"{least} {low} is more than {most} {high}: nothing can ever be valid"
    choices = schema.get("enum")
    if not isinstance(choices, list):
        return
    if not choices:
        yield (*path, "enum"), "an empty enum: nothing can ever be valid"
    kind = schema.get("type")
    if not isinstance(kind, (str, list)):
        return
    fits = jsonschema_rs.validator_for({"type": kind}).is_valid
    unfit = [index for index, choice in enumerate(choices) if not fits(choice)]
    for index in unfit[:_SHOWN_CHOICES]:
        yield (*path, "enum", index), f"this choice is not of the type {kind}: it can never be valid"
