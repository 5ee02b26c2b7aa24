"""Arguments through a form and back."""

from __future__ import annotations

import json

import pytest

from plangate_inbox.views.argument_form import JSON_FIELD, FieldWrong, arguments_from, form_fields, json_text

SCHEMA = {
    "properties": {
        "order": {"type": "string"},
        "amount": {"type": "number", "x-unit": "EUR"},
        "count": {"type": "integer"},
        "urgent": {"type": "boolean"},
        "environment": {"type": "string", "enum": ["staging", "production"]},
    },
    "required": ["order", "amount"],
}
ARGS = {"order": "A-1", "amount": 89.9, "urgent": False, "environment": "staging"}


def test_what_a_form_shows_comes_back_as_it_was() -> None:
    fields = form_fields(ARGS, SCHEMA)
    assert fields is not None
    assert [(field.name, field.kind) for field in fields] == [
        ("order", "text"),
        ("amount", "number"),
        ("count", "number"),
        ("urgent", "boolean"),
        ("environment", "choice"),
    ]
    assert arguments_from({field.key: field.value for field in fields}, fields) == ARGS


@pytest.mark.parametrize(
    ("args", "schema"),
    [
        (ARGS, None),
        ({**ARGS, "other": 1}, SCHEMA),
        ({**ARGS, "order": "p\u0430ypal"}, SCHEMA),
        ({**ARGS, "order": {"nested": 1}}, SCHEMA),
        ({"list": [1]}, {"properties": {"list": {"type": "array"}}}),
    ],
)
def test_what_a_field_would_not_show_as_itself_is_edited_as_json(args: dict[str, object], schema: object) -> None:
    assert form_fields(args, schema) is None  # type: ignore[arg-type]
    text = json_text(args)  # type: ignore[arg-type]
    assert text.isascii()
    assert arguments_from({JSON_FIELD: text}, None) == args


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ({"arg.order": "A", "arg.amount": "many"}, "amount: 'many' is not a number"),
        ({"arg.order": "A", "arg.amount": ""}, "amount: '' is not a number"),
        ({"arg.order": "A", "arg.amount": "true"}, "is not a number"),
        ({"arg.order": "A", "arg.amount": "1", "arg.urgent": "perhaps"}, "choose yes or no"),
        ({JSON_FIELD: "{"}, "not JSON"),
        ({JSON_FIELD: json.dumps([1])}, "must be a JSON object"),
        ({JSON_FIELD: "[" * 100_000}, "not JSON"),
    ],
)
def test_what_cannot_be_read_is_named(form: dict[str, str], fault: str) -> None:
    with pytest.raises(FieldWrong, match=fault):
        arguments_from(form, form_fields(ARGS, SCHEMA))
