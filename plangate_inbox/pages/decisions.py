"""What a person decides about a proposal: approve, reject, withdraw, cancel, break the glass.

Each form carries the version that its page showed, an approval the arguments' digest as well; the store takes it for
that version alone. When the proposal changed meanwhile, the answer is a page that shows what changed.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from plangate_client.errors import ArgsDigestMismatch, NotFound, PlangateError, Unavailable, VersionConflict
from plangate_client.outlook.difference import changes
from plangate_client.proposals import Proposals
from plangate_inbox.pages.proposal import review_context
from plangate_inbox.pages.reading import id_of, read_review
from plangate_inbox.views.history import in_words, snapshots
from plangate_inbox.web.failures import sentence, status_of
from plangate_inbox.web.protection import read_form
from plangate_inbox.web.rendering import render
from plangate_inbox.web.sessions import Session

DECISIONS = ("approve", "reject", "withdraw", "cancel", "break-glass", "resolve")
# A refusal that means: look at it as it is now.
_STALE = (VersionConflict, ArgsDigestMismatch)


async def decide(request: Request, decision: str) -> Response:
    """Carry out what a form of the proposal's page asks for; `decision` is one of DECISIONS."""
    session: Session = request.state.session
    proposal_id = id_of(request)
    form = await read_form(request, session)
    try:
        await _decide(session.store.proposals, decision, proposal_id, form)
    except _STALE:
        return await changed_meanwhile(request, session, proposal_id, version_of(form))
    except (NotFound, Unavailable):
        raise
    except PlangateError as error:
        context = review_context(session, await read_review(session, proposal_id), error=sentence(error))
        return render(request, "proposal.html", context, status=status_of(error))
    return RedirectResponse(f"/proposals/{proposal_id}?notice={decision}", status_code=303)


async def _decide(proposals: Proposals, decision: str, proposal_id: str, form: dict[str, str]) -> None:
    seen: dict[str, Any] = {"expected_version": version_of(form), "request_id": form.get("request_id") or None}
    reason = form.get("reason", "").strip()
    match decision:
        case "approve":
            comment = form.get("comment", "")
            await proposals.approve(proposal_id, args_digest=_digest(form), comment=comment, **seen)
        case "reject":
            await proposals.reject(proposal_id, reason=reason, **seen)
        case "withdraw":
            await proposals.withdraw_approval(proposal_id, **seen)
        case "cancel":
            await proposals.cancel(proposal_id, reason=reason, **seen)
        case "break-glass":
            await proposals.break_glass(proposal_id, args_digest=_digest(form), reason=reason, **seen)
        case "resolve":
            outcome = form.get("outcome")
            if outcome not in ("done", "not_done", "retry"):
                raise HTTPException(400, "The form does not say what came of it.")
            done, retry = outcome == "done", outcome == "retry"
            await proposals.resolve(proposal_id, done=done, retry=retry, reason=reason, **seen)


async def changed_meanwhile(request: Request, session: Session, proposal_id: str, seen_version: int) -> Response:
    """The page that shows what changed since the version that was seen."""
    review = await read_review(session, proposal_id)
    seen = snapshots(review.events).get(seen_version)
    since = [event for event in review.events if event.version > seen_version]
    context = {
        "proposal": review.proposal,
        "seen_version": seen_version,
        "changes": changes(seen, review.proposal) if seen is not None else None,
        "since": [(event, in_words(event)) for event in since],
    }
    return render(request, "changed.html", context, status=409)


def version_of(form: dict[str, str]) -> int:
    """The version that the form's page showed. Raises HTTPException 400."""
    version = form.get("version", "")
    # 0 would mean: whatever version there is.
    if not re.fullmatch(r"[1-9][0-9]{0,17}", version):
        raise HTTPException(400, "The form does not say which version it is about.")
    return int(version)


def _digest(form: dict[str, str]) -> str:
    """The digest of the arguments that the form's page showed. Raises HTTPException 400."""
    digest = form.get("args_digest", "")
    if not digest:
        # Empty would mean: whatever the arguments are.
        raise HTTPException(400, "The form does not say which arguments it is about.")
    return digest
