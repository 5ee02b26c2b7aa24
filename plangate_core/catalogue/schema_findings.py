"""Errors of a JSON Schema validator as findings: where, what kind, and what would mend it.

Where no branch of an anyOf or oneOf fits, that is what is wrong with the nearest of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from jsonschema_rs import ValidationError, ValidationErrorKind

from plangate_core.catalogue.finding import MESSAGE_LIMIT, Finding, dotted
from plangate_core.text.truncation import truncate

_MAX_NESTING = 8
_CONSTANTS = (ValidationErrorKind.Constant, ValidationErrorKind.Enum)

Branches = list[list[ValidationError]]


def findings(error: ValidationError, nesting: int = _MAX_NESTING) -> Iterator[Finding]:
    """One finding, or several where alternatives are nested in it. Paths are dotted, relative to the arguments."""
    branches = _branches(error)
    base = list(error.instance_path)
    if not branches or not nesting:
        yield _finding(error)
        return
    if fitting := [str(index + 1) for index, branch in enumerate(branches) if not branch]:
        yield _found(base, error, f"alternatives {', '.join(fitting)} of {len(branches)} fit: exactly one must")
        return
    about_it = [branch for branch in branches if not _is_of_another_kind(branch, base)]
    if not about_it:
        yield _found(base, error, _none_of([inner for branch in branches for inner in branch]) or error.message)
        return
    marks = [_marks(branch, base) for branch in about_it]
    if all(marks) and len({tuple(mark.instance_path) for each in marks for mark in each}) == 1:
        # `kind` names none of the alternatives, so that none is nearest.
        first = marks[0][0]
        yield _found(list(first.instance_path), first, _none_of([each[0] for each in marks]))
        return
    nearest = min(about_it, key=lambda branch: (len(_marks(branch, base)), len(branch)))
    note = f" (of {len(branches)} alternatives the nearest)" if len(about_it) > 1 else ""
    for inner in nearest:
        for found in findings(inner, nesting - 1):
            yield Finding(found.path, found.type, truncate(found.message + note, MESSAGE_LIMIT))


def _finding(error: ValidationError) -> Finding:
    if isinstance(error.kind, ValidationErrorKind.Required):
        # Point at what is missing, as pydantic does: that is what the model or the person must add.
        return Finding(dotted([*error.instance_path, error.kind.property]), "missing", "Field required")
    return _found(list(error.instance_path), error, error.message)


def _found(path: Sequence[str | int], error: ValidationError, message: str) -> Finding:
    return Finding(dotted(path), error.kind.name, truncate(message, MESSAGE_LIMIT))


def _branches(error: ValidationError) -> Branches:
    kind = error.kind
    alternatives = (
        ValidationErrorKind.AnyOf,
        ValidationErrorKind.OneOfNotValid,
        ValidationErrorKind.OneOfMultipleValid,
    )
    return kind.context if isinstance(kind, alternatives) else []


def _is_of_another_kind(branch: Sequence[ValidationError], base: list[Any]) -> bool:
    """Whether the branch wants another type or constant in place of the whole value."""
    return any(
        list(error.instance_path) == base
        and isinstance(error.kind, (ValidationErrorKind.Type, ValidationErrorKind.FalseSchema, *_CONSTANTS))
        for error in branch
    )


def _marks(branch: Sequence[ValidationError], base: list[Any]) -> list[ValidationError]:
    """The branch's constants, one level down, that do not hold: with `kind: host` a branch of groups is not meant."""
    return [
        error for error in branch if isinstance(error.kind, _CONSTANTS) and len(error.instance_path) == len(base) + 1
    ]


def _none_of(errors: Sequence[ValidationError]) -> str:
    wanted: list[str] = []
    for error in errors:
        match error.kind:
            case ValidationErrorKind.Type(types=types):
                wanted += types
            case ValidationErrorKind.Constant(expected_value=value):
                wanted.append(json.dumps(value, ensure_ascii=False))
            case ValidationErrorKind.Enum(options=options):
                wanted += [json.dumps(option, ensure_ascii=False) for option in options]
    return f"this value is none of: {', '.join(dict.fromkeys(wanted))}" if wanted else ""
