"""Changing what a proposal says before it is approved: checked and governed again by the planner."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from plangate_client.calls import new_request_id
from plangate_client.errors import PlangateError, VersionConflict
from plangate_client.outlook.difference import changes
from plangate_client.outlook.facts import json_of
from plangate_client.outlook.waiting import approvals_text, requirements
from plangate_core.contract.struct_codec import StructRefused, json_to_struct
from plangate_inbox.pages.decisions import changed_meanwhile, version_of
from plangate_inbox.pages.reading import Review, id_of, read_review
from plangate_inbox.views.argument_form import (
    JSON_FIELD,
    FieldWrong,
    FormField,
    arguments_from,
    form_fields,
    json_text,
)
from plangate_inbox.web.failures import sentence, status_of
from plangate_inbox.web.protection import read_form
from plangate_inbox.web.rendering import Editable, render
from plangate_inbox.web.sessions import Session


async def show_revision(request: Request) -> Response:
    """The form, filled with what the proposal says."""
    review = await read_review(request.state.session, id_of(request))
    return _page(request, review, {})


async def revise(request: Request) -> Response:
    """Check the new arguments, and store them unless the button was Check."""
    session: Session = request.state.session
    proposal_id = id_of(request)
    form = await read_form(request, session)
    review = await read_review(session, proposal_id)
    only_check = form.get("do") == "check"
    try:
        args = arguments_from(form, _fields(review))
        revised = await session.planner.revise_proposal(
            proposal_id,
            expected_version=version_of(form),
            action_args=json_to_struct(args, "action_args"),
            comment=form.get("comment", ""),
            request_id=None if only_check else form.get("request_id") or None,
            validate_only=only_check,
        )
    except VersionConflict:
        return await changed_meanwhile(request, session, proposal_id, version_of(form))
    except (FieldWrong, StructRefused) as error:
        return _page(request, review, form, error=str(error), status=422)
    except PlangateError as error:
        return _page(request, review, form, error=sentence(error), status=status_of(error))
    if not only_check:
        return RedirectResponse(f"/proposals/{proposal_id}?notice=revise", status_code=303)
    checked = {
        "changes": changes(review.proposal, revised),
        "requirements": approvals_text(requirements(revised)),
        "reason": revised.decision.reason,
        "rule": revised.decision.rule,
    }
    return _page(request, review, form, checked=checked)


def _fields(review: Review) -> list[FormField] | None:
    return form_fields(json_of(review.proposal.action_args), review.schema)


def _page(
    request: Request,
    review: Review,
    form: dict[str, str],
    *,
    error: str = "",
    status: int = 200,
    checked: dict[str, Any] | None = None,
) -> Response:
    fields = None if JSON_FIELD in form else _fields(review)
    context = {
        "proposal": review.proposal,
        "action": review.action,
        "fields": [(field, Editable(form.get(field.key, field.value))) for field in fields] if fields else None,
        "json": Editable(form.get(JSON_FIELD, json_text(json_of(review.proposal.action_args)))),
        "comment": Editable(form.get("comment", "")),
        "version": form.get("version", review.proposal.version),
        "request_id": new_request_id(),
        "error": error,
        "checked": checked,
    }
    return render(request, "revise.html", context, status=status)
