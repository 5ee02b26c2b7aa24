"""The catalogue: every action that may be planned, with the schema of its arguments. Read from one YAML file.

docs/catalogue.md describes the format for those who write it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import BeforeValidator, Field, StringConstraints

from plangate_core.catalogue.argument_schema import ArgumentSchema, closed
from plangate_core.catalogue.binding_forms import CommandForm, HttpForm
from plangate_core.catalogue.duration_text import DurationText, parse_duration
from plangate_core.catalogue.effect import Effect
from plangate_core.catalogue.finding import Finding
from plangate_core.catalogue.schema_bounds import SchemaRefused
from plangate_core.catalogue.yaml_document import Document, DocumentInvalid, Form, YamlPath, parse_document, read_text

MAX_ACTIONS = 1_000
ACTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


class CatalogueInvalid(DocumentInvalid):
    """The catalogue cannot be used; says where and why."""


class Risk(Enum):
    """How much harm an action can do. Policy treats UNSPECIFIED as HIGH."""

    UNSPECIFIED = "unspecified"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class ActionPolicy:
    """What the catalogue itself says of an action: it counts as the policy rule `catalogue:<action>`.

    `approvals` is at least 1 where the effect is REQUIRE_APPROVAL, else 0. `expires_in` of None leaves it to the store.
    """

    effect: Effect
    approvals: int = 0
    role: str = ""
    reason: str = ""
    expires_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """Something that may be done.

    parameters: the JSON Schema of its arguments, as it is enforced.
    binding: how the bundled executor carries it out, in the author's words; None waits for a worker in any language.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    risk: Risk
    policy: ActionPolicy | None
    binding: CommandForm | HttpForm | None = None

    @property
    def assumed_risk(self) -> Risk:
        """The risk that policy goes by: HIGH where the catalogue does not say."""
        return Risk.HIGH if self.risk is Risk.UNSPECIFIED else self.risk


class Catalogue:
    """All actions, in the order of the file. Immutable. `warnings`: what is odd in the file, each with its place."""

    def __init__(
        self,
        actions: tuple[Action, ...],
        digest: str,
        schemas: Mapping[str, ArgumentSchema],
        warnings: tuple[str, ...] = (),
        document: Document | None = None,
    ) -> None:
        self.actions = actions
        self.digest = digest
        self.warnings = warnings
        self._by_name = {action.name: action for action in actions}
        self._schemas = schemas
        self._document = document

    def find(self, name: str) -> Action | None:
        """The action of that name, None when there is none."""
        return self._by_name.get(name)

    def schema_of(self, action: Action) -> ArgumentSchema:
        """The compiled schema of an action's arguments."""
        return self._schemas[action.name]

    def fault(self, path: YamlPath, message: str) -> DocumentInvalid:
        """An error at a path of the file, for checks made elsewhere."""
        return self._document.fault(path, message) if self._document else DocumentInvalid(message)

    def check_args(self, action: Action, args: Mapping[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
        """The arguments with defaults filled in, and what is wrong with them; paths are relative to the arguments."""
        return self._schemas[action.name].check(args)

    def reduced_to(self, actions: tuple[Action, ...]) -> Catalogue:
        """Some of these actions, as a catalogue of its own; its digest says which."""
        names = [action.name for action in actions]
        return Catalogue(actions, digest_of([self.digest, *names]), self._schemas)


def load_catalogue(path: Path | str) -> Catalogue:
    """Read a catalogue file. Raises CatalogueInvalid, which names the file, the line and the fault."""
    try:
        return _build(parse_document(read_text(Path(path), "catalogue")), str(path))
    except DocumentInvalid as error:
        raise CatalogueInvalid(error.message, line=error.line, column=error.column, source=str(path)) from error


def parse_catalogue(text: str) -> Catalogue:
    """Read the text of a catalogue file. Raises CatalogueInvalid, which names the line and the fault."""
    try:
        return _build(parse_document(text), "")
    except DocumentInvalid as error:
        raise CatalogueInvalid(error.message, line=error.line, column=error.column) from error


_Role = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$")]


class ActionPolicyForm(Form):
    """The mapping form of an action's `policy:`."""

    effect: Literal["allow", "require_approval", "deny"]
    approvals: Annotated[int, Field(ge=1, le=20)] | None = None
    role: _Role | None = None
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = None
    expires_in: DurationText | None = None


def _policy_mapping(value: Any) -> Any:
    """`policy: allow` is short for `policy: {effect: allow}`."""
    return {"effect": value} if isinstance(value, str) else value


class _ActionForm(Form):
    name: Annotated[str, StringConstraints(pattern=rf"^{ACTION_NAME.pattern}$")]
    description: Annotated[str, StringConstraints(min_length=1, max_length=4000)]
    parameters: dict[str, Any] | None = None
    risk: Literal["low", "medium", "high"] | None = None
    policy: Annotated[ActionPolicyForm, BeforeValidator(_policy_mapping)] | None = None
    command: CommandForm | None = None
    http: HttpForm | None = None


class _CatalogueForm(Form):
    version: Literal[1]
    actions: Annotated[list[_ActionForm], Field(min_length=1, max_length=MAX_ACTIONS)]


def _build(document: Document, source: str) -> Catalogue:
    form = document.fit(_CatalogueForm)
    actions: list[Action] = []
    warnings: list[str] = []
    schemas: dict[str, ArgumentSchema] = {}
    for index, entry in enumerate(form.actions):
        path: YamlPath = ("actions", index)
        if entry.name in schemas:
            raise document.fault((*path, "name"), f"the action {entry.name!r} is given twice")
        if entry.command and entry.http:
            raise document.fault((*path, "http"), "an action binds command or http, not both")
        parameters = closed({"type": "object", **(entry.parameters or {})})
        if parameters["type"] != "object":
            raise document.fault((*path, "parameters", "type"), "arguments are an object: type must be object")
        try:
            schema = schemas[entry.name] = ArgumentSchema(parameters)
        except SchemaRefused as error:
            raise document.fault((*path, "parameters", *error.path), error.message) from error
        for unfit in schema.unfit_defaults:
            odd = document.fault((*path, "parameters", *unfit.path), f"this default is not used: {unfit.message}")
            odd.source = source
            warnings.append(str(odd))
        actions.append(
            Action(
                name=entry.name,
                description=entry.description.strip(),
                parameters=schema.schema,
                risk=Risk(entry.risk or "unspecified"),
                policy=action_policy(entry.policy, document, (*path, "policy")) if entry.policy else None,
                binding=entry.command or entry.http,
            )
        )
    return Catalogue(tuple(actions), digest_of(document.value), schemas, tuple(warnings), document)


def action_policy(form: ActionPolicyForm, document: Document, path: YamlPath) -> ActionPolicy:
    """The policy that a checked form says. Raises DocumentInvalid where fields contradict the effect."""
    effect = Effect(form.effect)
    if effect is not Effect.REQUIRE_APPROVAL:
        for field in ("approvals", "role", "expires_in"):
            if getattr(form, field) is not None:
                raise document.fault((*path, field), f"only require_approval takes {field}")
    return ActionPolicy(
        effect=effect,
        approvals=(form.approvals or 1) if effect is Effect.REQUIRE_APPROVAL else 0,
        role=form.role or "",
        reason=form.reason or "",
        expires_in=parse_duration(form.expires_in) if form.expires_in else None,
    )


def digest_of(value: Any) -> str:
    """SHA-256 (hex) over the RFC 8785 canonical JSON of a document: layout and comments do not matter."""
    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()
