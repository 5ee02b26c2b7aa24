"""The catalogue: every action that may be planned, with the schema of its arguments. Read from one YAML file.

docs/reference/catalogue.md describes the format for those who write it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag

from plangate_core.catalogue.argument_schema import ArgumentSchema, closed
from plangate_core.catalogue.binding_forms import CommandForm, HttpForm, ReconcileForm
from plangate_core.catalogue.document import Document, DocumentInvalid, Form, YamlPath
from plangate_core.catalogue.duration_text import DurationText, parse_duration
from plangate_core.catalogue.finding import Finding
from plangate_core.catalogue.policy_effect import ApprovalRequirement, Effect, OnRefusal, StepOrder
from plangate_core.catalogue.schema_bounds import SchemaRefused
from plangate_core.catalogue.schema_dialect import rewritten
from plangate_core.catalogue.schema_lint import oddities
from plangate_core.catalogue.shown_facts import ReviewForm, ShownFact, argument_at, shown_fact
from plangate_core.catalogue.yaml_document import parse_document, read_text
from plangate_core.contract.limits import LABEL_KEY, MAX_EFFECT_KEY_CHARACTERS, MAX_LABEL_VALUE_CHARACTERS

MAX_ACTIONS = 1_000
_ARGUMENT = re.compile(r"\{args\.([^{}]+)\}")
MAX_APPROVALS = 20
"""Of one role, for one job."""
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

    requirements: who must approve, each role once; empty unless the effect is REQUIRE_APPROVAL. `expires_in` of None
    leaves it to the store.
    """

    effect: Effect
    requirements: tuple[ApprovalRequirement, ...] = ()
    reason: str = ""
    expires_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """Something that may be done.

    parameters: the JSON Schema of its arguments, as it is enforced.
    order: whether its steps keep their place among the others; None: not stated.
    on_refusal: what becomes of its steps when one that they wait for ends without success; None: not stated.
    idempotent: whether doing it twice has the same effect as doing it once.
    read_only: whether it changes nothing.
    shown: what is looked up for its reviewers before they decide. shown_timeout: how long that may take.
    reconcile: a look-up that says whether it was carried out, for executions that nobody reported; None: there is none.
    effect_key: names the effect in the world, with arguments in it: "refund:{args.order_id}"; empty: none.
    binding: how the bundled executor carries it out, in the author's words; None waits for a worker in any language.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    risk: Risk
    policy: ActionPolicy | None
    binding: CommandForm | HttpForm | None = None
    order: StepOrder | None = None
    on_refusal: OnRefusal | None = None
    idempotent: bool = False
    effect_key: str = ""
    reconcile: CommandForm | HttpForm | None = None
    read_only: bool = False
    shown: tuple[ShownFact, ...] = ()
    shown_timeout: timedelta = timedelta(minutes=1)

    def effect_of(self, args: Mapping[str, Any]) -> str:
        """The name of the effect with these arguments; empty where the catalogue gives none. At most 256 characters."""
        key = _ARGUMENT.sub(lambda found: _text(argument_at(args, found[1])), self.effect_key)
        return key if len(key) <= MAX_EFFECT_KEY_CHARACTERS else hashlib.sha256(key.encode()).hexdigest()

    @property
    def assumed_risk(self) -> Risk:
        """The risk that policy goes by: HIGH where the catalogue does not say."""
        return Risk.HIGH if self.risk is Risk.UNSPECIFIED else self.risk


def _text(value: Any) -> str:
    return value if isinstance(value, str) else rfc8785.dumps(value).decode()


class Catalogue:
    """All actions, in the order of the file. Immutable.

    warnings: what is odd in the file, each with its place. labels: those that plans may carry, each with its values,
    any where there are none; None where the catalogue does not list labels.
    """

    def __init__(
        self,
        actions: tuple[Action, ...],
        digest: str,
        schemas: Mapping[str, ArgumentSchema],
        warnings: tuple[str, ...] = (),
        document: Document | None = None,
        labels: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.actions = actions
        self.digest = digest
        self.warnings = warnings
        self.labels = labels
        self._by_name = {action.name: action for action in actions}
        self._schemas = schemas
        self._document = document

    def find(self, name: str) -> Action | None:
        """The action of that name, None when there is none."""
        return self._by_name.get(name)

    def schema_of(self, action: Action) -> ArgumentSchema:
        """The compiled schema of an action's arguments."""
        return self._schemas[action.name]

    def refuse(self, path: YamlPath, message: str) -> None:
        """Record a fault at a path of the file, for checks made elsewhere."""
        if self._document:
            self._document.refuse(path, message)

    def raise_faults(self, source: str = "") -> None:
        """Raises CatalogueInvalid with all that was recorded since the file was read, if anything was."""
        try:
            if self._document:
                self._document.raise_faults()
        except DocumentInvalid as error:
            raise CatalogueInvalid.of(error, source) from error

    def check_args(self, action: Action, args: Mapping[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
        """The arguments with defaults filled in, and what is wrong with them; paths are relative to the arguments."""
        return self._schemas[action.name].check(args)

    def reduced_to(self, actions: tuple[Action, ...], version: str = "") -> Catalogue:
        """Some of these actions, as a catalogue of its own; its digest says which, and in what version they are shown.

        Arguments are checked as this catalogue checks them.
        """
        names = [action.name for action in actions]
        return Catalogue(actions, digest_of([self.digest, *names, version]), self._schemas)


def load_catalogue(path: Path | str) -> Catalogue:
    """Read a catalogue file. Raises CatalogueInvalid, which names the file, the line and the fault."""
    try:
        return _build(parse_document(read_text(Path(path), "catalogue")), str(path))
    except DocumentInvalid as error:
        raise CatalogueInvalid.of(error, str(path)) from error


def parse_catalogue(text: str) -> Catalogue:
    """Read the text of a catalogue file. Raises CatalogueInvalid, which names the line and the fault."""
    try:
        return _build(parse_document(text), "")
    except DocumentInvalid as error:
        raise CatalogueInvalid.of(error) from error


_Role = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$")]
_Count = Annotated[int, Field(ge=1, le=MAX_APPROVALS)]


def _approvals_form(value: Any) -> str:
    return "by_role" if isinstance(value, dict) else "count"


_CountByRole = Annotated[dict[_Role, _Count], Field(min_length=1, max_length=20)]
_Approvals = Annotated[
    Annotated[_Count, Tag("count")] | Annotated[_CountByRole, Tag("by_role")], Discriminator(_approvals_form)
]


class ActionPolicyForm(Form):
    """The mapping form of an action's `policy:`."""

    effect: Literal["allow", "require_approval", "deny"]
    approvals: _Approvals | None = None
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
    order: Literal["independent", "sequential"] | None = None
    on_refusal: Literal["ask", "continue", "cancel"] | None = None
    idempotent: bool = False
    effect_key: Annotated[str, StringConstraints(min_length=1, max_length=MAX_EFFECT_KEY_CHARACTERS)] | None = None
    command: CommandForm | None = None
    http: HttpForm | None = None
    reconcile: ReconcileForm | None = None
    read_only: bool = False
    review: ReviewForm | None = None


_LabelKey = Annotated[str, StringConstraints(pattern=rf"^{LABEL_KEY.pattern}$")]
_LabelValue = Annotated[str, StringConstraints(max_length=MAX_LABEL_VALUE_CHARACTERS)]


class _CatalogueForm(Form):
    version: Literal[1]
    labels: dict[_LabelKey, list[_LabelValue] | None] | None = None
    actions: Annotated[list[Any], Field(min_length=1, max_length=MAX_ACTIONS)]


def _build(document: Document, source: str) -> Catalogue:
    """The catalogue that a document says. Raises DocumentInvalid with all that is wrong with it."""
    form = document.fit(_CatalogueForm)
    entries = document.value.get("actions") if isinstance(document.value, dict) else None
    actions: dict[str, Action] = {}
    schemas: dict[str, ArgumentSchema] = {}
    warnings: list[str] = []
    reviews: dict[str, tuple[ReviewForm, YamlPath]] = {}
    for index, entry in enumerate(entries[:MAX_ACTIONS] if isinstance(entries, list) else ()):
        path: YamlPath = ("actions", index)
        action = document.fit(_ActionForm, path)
        # The schema is looked at also where another field is wrong: all faults are to be seen at once.
        schema = _schema(entry, document, path, warnings, source) if isinstance(entry, dict) else None
        if action is None:
            continue
        if action.name in actions:
            document.refuse((*path, "name"), f"the action {action.name!r} is given twice")
        if action.command and action.http:
            document.refuse((*path, "http"), "an action binds command or http, not both")
        look_up = action.reconcile
        if look_up is not None and bool(look_up.command) is bool(look_up.http):
            document.refuse((*path, "reconcile"), "reconcile takes command or http")
        declared = (action.parameters or {}).get("properties", {})
        for name in _ARGUMENT.findall(action.effect_key or ""):
            if name.partition(".")[0] not in declared:
                document.refuse((*path, "effect_key"), f"the action has no argument {name!r}")
        policy = action_policy(action.policy, document, (*path, "policy")) if action.policy else None
        if schema is None:
            continue
        schemas[action.name] = schema
        actions[action.name] = Action(
            name=action.name,
            description=action.description.strip(),
            parameters=schema.schema,
            risk=Risk(action.risk or "unspecified"),
            policy=policy,
            binding=action.command or action.http,
            order=StepOrder(action.order) if action.order else None,
            on_refusal=OnRefusal(action.on_refusal) if action.on_refusal else None,
            idempotent=action.idempotent or action.read_only,
            read_only=action.read_only,
            effect_key=action.effect_key or "",
            reconcile=None if look_up is None else look_up.command or look_up.http,
        )
        if action.review is not None:
            reviews[action.name] = (action.review, (*path, "review", "show"))
    parameters = {action.name: action.parameters for action in actions.values()}
    read_only = {action.name for action in actions.values() if action.read_only}
    for name, (review, path) in reviews.items():
        reviewed = actions[name]
        shown = tuple(
            shown_fact(entry, reviewed.parameters, parameters, read_only, document, (*path, at))
            for at, entry in enumerate(review.show)
        )
        actions[name] = replace(reviewed, shown=shown, shown_timeout=parse_duration(review.timeout))
    document.raise_faults()
    assert form is not None
    labels = None if form.labels is None else {key: tuple(values or ()) for key, values in form.labels.items()}
    return Catalogue(tuple(actions.values()), digest_of(document.value), schemas, tuple(warnings), document, labels)


def _schema(
    entry: dict[str, Any], document: Document, path: YamlPath, warnings: list[str], source: str
) -> ArgumentSchema | None:
    """The schema of an action's arguments; None, with all faults recorded, when it cannot be used."""
    path = (*path, "parameters")
    written = entry.get("parameters") or {}
    if not isinstance(written, dict):
        return None
    if written.get("type", "object") != "object":
        document.refuse((*path, "type"), "arguments are an object: type must be object")
    read = rewritten({"type": "object", **written})
    for unreachable in read.unreachable:
        document.forgive((*path, *unreachable))
    try:
        schema = ArgumentSchema(closed(read.schema))
    except SchemaRefused as error:
        for where, message in error.faults:
            document.refuse((*path, *where), message)
        return None
    unfit = [(default.path, f"this default is not used: {default.message}") for default in schema.unfit_defaults]
    for where, message in [*unfit, *read.notes, *oddities(closed(read.schema))]:
        warnings.append(document.warning((*path, *where), message, source))
    return schema


def action_policy(form: ActionPolicyForm, document: Document, path: YamlPath) -> ActionPolicy:
    """The policy that a checked form says. Fields that contradict the effect are recorded as faults of the document."""
    effect = Effect(form.effect)
    if effect is not Effect.REQUIRE_APPROVAL:
        for field in ("approvals", "role", "expires_in"):
            if getattr(form, field) is not None:
                document.refuse((*path, field), f"only require_approval takes {field}")
    if isinstance(form.approvals, dict) and form.role is not None:
        document.refuse((*path, "role"), "approvals gives the roles already")
    return ActionPolicy(
        effect=effect,
        requirements=_requirements(form) if effect is Effect.REQUIRE_APPROVAL else (),
        reason=form.reason or "",
        expires_in=parse_duration(form.expires_in) if form.expires_in else None,
    )


def _requirements(form: ActionPolicyForm) -> tuple[ApprovalRequirement, ...]:
    if isinstance(form.approvals, dict):
        return tuple(ApprovalRequirement(role, count) for role, count in form.approvals.items())
    return (ApprovalRequirement(form.role or "", form.approvals or 1),)


def digest_of(value: Any) -> str:
    """SHA-256 (hex) over the RFC 8785 canonical JSON of a document: layout and comments do not matter."""
    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()
