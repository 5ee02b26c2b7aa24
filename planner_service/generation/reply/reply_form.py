"""The response model that Instructor is given: which actions may be named, and the schema that goes with a call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pydantic
from instructor import OpenAISchema

from plangate_core.catalogue.catalogue import Catalogue
from planner_service.generation.reply.draft import PlanReply, action_choice, draft_model, draft_schema

_FORMS_KEPT = 64


class ReplyForm:
    """For one catalogue, or the part of one that a model is shown.

    model: a PlanReply and Instructor schema in one. schema_size: characters of the schema that goes with every call.
    """

    def __init__(self, catalogue: Catalogue, model: type[PlanReply], schema: dict[str, Any]) -> None:
        self.catalogue = catalogue
        self.model = _with_schema(model, schema)
        self.action_names = tuple(action.name for action in catalogue.actions)
        self.schema_size = len(json.dumps(schema))


class ReplyForms:
    """The forms of one catalogue. What takes long, each action's grammar and the model that validates, is made once."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._model = draft_model(catalogue)
        self._choices: Mapping[str, Any] = {action.name: action_choice(action) for action in catalogue.actions}
        self._forms: dict[tuple[str, bool], ReplyForm] = {}

    def form(self, shown: Catalogue, *, asks_for_ties: bool = False) -> ReplyForm:
        """The form for a part of the catalogue, or all of it; the last few are kept."""
        form = self._forms.get((shown.digest, asks_for_ties))
        if form is None:
            while len(self._forms) >= _FORMS_KEPT:
                del self._forms[next(iter(self._forms))]
            choices = [self._choices[action.name] for action in shown.actions]
            schema = draft_schema(choices, asks_for_ties=asks_for_ties)
            form = self._forms[shown.digest, asks_for_ties] = ReplyForm(shown, self._model, schema)
        return form


class _SchemaGiven(OpenAISchema):
    """Gives Instructor the schema made for grammars instead of the one that pydantic derives."""

    grammar: ClassVar[dict[str, Any]] = {}

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        return cls.grammar


def _with_schema(model: type[PlanReply], schema: dict[str, Any]) -> Any:
    """Types made at run time: pydantic follows, mypy cannot."""
    made: Any = pydantic.create_model("PlanReply", __base__=(_SchemaGiven, model), __doc__=PlanReply.__doc__)
    made.grammar = schema
    return made
