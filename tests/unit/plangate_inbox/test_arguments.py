"""Arguments beside what the schema says of them."""

from __future__ import annotations

from plangate_inbox.views.arguments import arguments, resolved

SCHEMA = {
    "properties": {
        "amount": {"type": "number", "exclusiveMinimum": 0.0, "maximum": 500.0, "x-unit": "EUR"},
        "environment": {"$ref": "#/$defs/environment", "description": "Where."},
        "note": {"type": "string", "title": "What for"},
    },
    "$defs": {"environment": {"enum": ["staging", "production"], "description": "hidden by the one beside the $ref"}},
}


def test_arguments_have_choices_units_and_limits() -> None:
    found = arguments(
        {"zeal": 1, "environment": "staging", "amount": 20}, SCHEMA, frozenset({"environment", "options.mode"})
    )
    amount, environment, zeal = found
    assert (amount.value, amount.unit, amount.limits, amount.assumed) == ("20", "EUR", "more than 0 to 500", False)
    assert environment.choices == (("staging", True), ("production", False))
    assert (environment.description, environment.assumed) == ("Where.", True)
    assert (zeal.name, zeal.declared) == ("zeal", False)


def test_what_is_required_comes_first_and_what_is_long_last() -> None:
    schema = {"properties": {name: {} for name in ("body", "to", "cc", "subject")}, "required": ["to", "subject"]}
    args = {"other": 1, "cc": "", "body": "a\nb", "subject": "s", "to": ["x", "y"]}
    found = arguments(args, schema, frozenset())
    assert [argument.name for argument in found] == ["subject", "cc", "other", "body", "to"]
    assert [argument.entries for argument in found] == [0, 0, 0, 0, 2]
    assert found[-1].value == '["x", "y"]'


def test_true_is_not_one() -> None:
    [flag] = arguments({"flag": True}, {"properties": {"flag": {"enum": [1, True]}}}, frozenset())
    assert flag.choices == (("1", False), ("true", True))


def test_without_a_schema_nothing_counts_as_undeclared() -> None:
    [flag] = arguments({"flag": {"a": [1]}}, None, frozenset({"flag.a"}))
    assert (flag.declared, flag.is_block, flag.assumed) == (True, True, True)
    assert flag.value == '{\n  "a": [\n    1\n  ]\n}'


def test_references_that_lead_nowhere_or_in_circles_are_empty() -> None:
    root = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    assert resolved({"$ref": "#/$defs/a"}, root) == {}
    assert resolved({"$ref": "#/nowhere"}, root) == {}
    assert resolved("no schema", root) == {}
