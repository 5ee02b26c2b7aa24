"""Rewrites schemas of OpenAPI 3.0, draft 4 and generators as JSON Schema 2020-12.

- `exclusiveMaximum: true` beside `maximum: 250` is `exclusiveMaximum: 250`.
- `nullable: true` lets null pass.
- Bounds of 2^53 and more (an int64's) are dropped: such numbers are refused anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plangate_core.catalogue.schema_bounds import MAX_SCHEMA_DEPTH, JsonPath, with_subschemas
from plangate_core.contract.limits import INEXACT_FROM

_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")
_LOWER = ("minimum", "exclusiveMinimum")
_EXCLUSIVE = (("exclusiveMaximum", "maximum"), ("exclusiveMinimum", "minimum"))


@dataclass(slots=True)
class Rewritten:
    """A schema as it is enforced. `notes`: what was read otherwise than JSON Schema reads it, by path.

    unreachable: paths of the bounds that were left out because nothing reaches them.
    """

    schema: dict[str, Any]
    notes: list[tuple[JsonPath, str]] = field(default_factory=list)
    unreachable: list[JsonPath] = field(default_factory=list)


def rewritten(schema: Mapping[str, Any]) -> Rewritten:
    """The schema in the words of JSON Schema. The one that is given is left as it is."""
    result = Rewritten({})
    draft4 = "draft-04" in str(schema.get("$schema", ""))
    result.schema = _Rewriter(result, draft4).rewrite(dict(schema), ())
    return result


class _Rewriter:
    def __init__(self, result: Rewritten, draft4: bool) -> None:
        self._result = result
        self._draft4 = draft4

    def rewrite(self, schema: Any, path: JsonPath) -> Any:
        # What is nested deeper is refused later.
        if not isinstance(schema, dict) or len(path) > 3 * MAX_SCHEMA_DEPTH:
            return schema
        fresh = with_subschemas(schema, lambda child, way: self.rewrite(child, (*path, *way)))
        self._leave_out_unreachable(fresh, path)
        if not self._draft4:
            self._rewrite_exclusive(fresh, path)
            fresh = self._rewrite_nullable(fresh, path)
        return fresh

    def _leave_out_unreachable(self, schema: dict[str, Any], path: JsonPath) -> None:
        for keyword in (*_UPPER, *_LOWER):
            bound = schema.get(keyword)
            if isinstance(bound, bool) or not isinstance(bound, (int, float)):
                continue
            if bound >= INEXACT_FROM if keyword in _UPPER else bound <= -INEXACT_FROM:
                del schema[keyword]
                self._result.unreachable.append((*path, keyword))
                for exclusive, inclusive in _EXCLUSIVE:
                    if keyword == inclusive and schema.get(exclusive) is True:
                        del schema[exclusive]

    def _rewrite_exclusive(self, schema: dict[str, Any], path: JsonPath) -> None:
        for exclusive, inclusive in _EXCLUSIVE:
            written = schema.get(exclusive)
            if not isinstance(written, bool):
                continue
            del schema[exclusive]
            if not written:
                continue
            if inclusive in schema:
                schema[exclusive] = bound = schema.pop(inclusive)
                note = f"read as {exclusive}: {bound}, as draft 4 and OpenAPI 3.0 mean it"
            else:
                note = f"means nothing without {inclusive}: left out"
            self._result.notes.append(((*path, exclusive), note))

    def _rewrite_nullable(self, schema: dict[str, Any], path: JsonPath) -> dict[str, Any]:
        written = schema.get("nullable")
        if not isinstance(written, bool):
            return schema
        del schema["nullable"]
        if not written:
            return schema
        self._result.notes.append(((*path, "nullable"), "read as OpenAPI 3.0 means it: null is accepted"))
        plain = not {"$ref", "allOf", "anyOf", "oneOf", "not", "const"} & schema.keys()
        kind = schema.get("type")
        if plain and isinstance(kind, (str, list)):
            schema["type"] = [*([kind] if isinstance(kind, str) else kind), *([] if "null" in kind else ["null"])]
            if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
                schema["enum"] = [*schema["enum"], None]
            return schema
        if plain and "enum" not in schema:
            return schema
        annotations: dict[str, Any] = {
            key: schema.pop(key) for key in ("title", "description", "default") if key in schema
        }
        return {**annotations, "anyOf": [schema, {"type": "null"}]}
