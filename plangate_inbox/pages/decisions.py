"""What a person decides about a proposal: approve, reject, withdraw, cancel, break the glass.

Each form carries the version that its page showed, an approval the arguments' digest as well; the store takes it for
that version alone. When the proposal changed meanwhile, the answer is a page that shows what changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from plangate.store.v1 import proposal_pb2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from plangate_client.errors import ArgsDigestMismatch, NotFound, PlangateError, Unavailable, VersionConflict
from plangate_client.outlook.difference import changes
from plangate_inbox.pages.proposal import review_context
from plangate_inbox.pages.reading import Review, id_of, read_review
from plangate_inbox.views.arguments import value_text
from plangate_inbox.views.history import in_words, snapshots
from plangate_inbox.web.failures import sentence, status_of
from plangate_inbox.web.protection import read_form
from plangate_inbox.web.sessions import Session

Form: TypeAlias = dict[str, str]
Decision: TypeAlias = Callable[[Session, str, Form], Awaitable[proposal_pb2.Proposal]]

# A refusal that means: look at it as it is now.
_STALE = (VersionConflict, ArgsDigestMismatch)


async def approve(request: Request) -> Response:
    """A yes to exactly the version and the arguments that the page showed."""
    return await _decide(request, _approved, "approved")


async def reject(request: Request) -> Response:
    """A no, with a reason."""
    return await _decide(request, _rejected, "rejected")


async def withdraw(request: Request) -> Response:
    """Take the own approval back."""
    return await _decide(request, _withdrawn, "withdrawn")


async def cancel(request: Request) -> Response:
    """Cancel it, or ask its executor to stop."""
    return await _decide(request, _cancelled, "cancelled")


async def break_glass(request: Request) -> Response:
    """One admin's part in having it executed without its review."""
    return await _decide(request, _glass_broken, "broken")


async def resolve(request: Request) -> Response:
    """The outcome of an execution without a report: done, not done, or not done and to be tried again."""
    return await _decide(request, _resolved, "resolved")


async def _approved(session: Session, proposal_id: str, form: Form) -> proposal_pb2.Proposal:
    return await session.store.proposals.approve(
        proposal_id,
        expected_version=version_of(form),
        args_digest=_digest(form),
        comment=form.get("comment", ""),
        request_id=form.get("request_id") or None,
    )


async def _rejected(session: Session, proposal_id: str, form: Form) -> proposal_pb2.Proposal:
    return await session.store.proposals.reject(
        proposal_id,
        expected_version=version_of(form),
        reason=form.get("reason", "").strip(),
        request_id=form.get("request_id") or None,
    )


async def _withdrawn(session: Session, proposal_id: str, form: Form) -> proposal_pb2.Proposal:
    return await session.store.proposals.withdraw_approval(
        proposal_id, expected_version=version_of(form), request_id=form.get("request_id") or None
    )


async def _cancelled(session: Session, proposal_id: str, form: Form) -> proposal_pb2.Proposal:
    return await session.store.proposals.cancel(
        proposal_id,
        expected_version=version_of(form),
        reason=form.get("reason", "").strip(),
        request_id=form.get("request_id") or None,
    )


async def _glass_broken(session: Session, proposal_id: str, form: Form) -> proposal_pb2.Proposal:
    return await session.store.proposals.break_glass(
        proposal_id,
        expected_version=version_of(form),
        args_digest=_digest(form),
        reason=form.get("reason", "").strip(),
        request_id=form.get("request_id") or None,
    )


async def _resolved(session: Session, proposal_id: str, form: Form) -> proposal_pb2.Proposal:
    outcome = form.get("outcome")
    if outcome not in ("done", "not_done", "retry"):
        raise HTTPException(400, "The form does not say what came of it.")
    return await session.store.proposals.resolve(
        proposal_id,
        expected_version=version_of(form),
        done=outcome == "done",
        retry=outcome == "retry",
        reason=form.get("reason", "").strip(),
        request_id=form.get("request_id") or None,
    )


async def _decide(request: Request, decision: Decision, notice: str) -> Response:
    session: Session = request.state.session
    proposal_id = id_of(request)
    form = await read_form(request, session)
    try:
        await decision(session, proposal_id, form)
    except _STALE:
        return await changed_meanwhile(request, session, proposal_id, version_of(form))
    except (NotFound, Unavailable):
        raise
    except PlangateError as error:
        review = await read_review(session, proposal_id)
        context = review_context(session, review, error=sentence(error))
        return request.app.state.templates.page(  # type: ignore[no-any-return]
            request, "proposal.html", context, status=status_of(error)
        )
    return RedirectResponse(f"/proposals/{proposal_id}?notice={notice}", status_code=303)


async def changed_meanwhile(request: Request, session: Session, proposal_id: str, seen_version: int) -> Response:
    """The page that shows what changed since the version that was seen."""
    review: Review = await read_review(session, proposal_id)
    seen = snapshots(review.events).get(seen_version)
    since = [event for event in review.events if event.version > seen_version]
    context = {
        "proposal": review.proposal,
        "seen_version": seen_version,
        "changes": changes(seen, review.proposal) if seen is not None else None,
        "since": [(event, in_words(event)) for event in since],
        "value_text": value_text,
    }
    return request.app.state.templates.page(request, "changed.html", context, status=409)  # type: ignore[no-any-return]


def version_of(form: Form) -> int:
    """The version that the form's page showed. Raises HTTPException 400."""
    try:
        version = int(form["version"])
    except (KeyError, ValueError):
        raise HTTPException(400, "The form does not say which version it is about.") from None
    if version < 1:
        # 0 would mean: whatever version there is.
        raise HTTPException(400, "The form does not say which version it is about.")
    return version


def _digest(form: Form) -> str:
    """The digest of the arguments that the form's page showed. Raises HTTPException 400."""
    digest = form.get("args_digest", "")
    if not digest:
        # Empty would mean: whatever the arguments are.
        raise HTTPException(400, "The form does not say which arguments it is about.")
    return digest
