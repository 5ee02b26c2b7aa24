"""What another policy would have decided about the plans of the last days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2
from starlette.requests import Request
from starlette.responses import Response

from plangate_client.errors import PlangateError
from plangate_client.outlook.waiting import approvals_text
from plangate_inbox.web.failures import sentence, status_of
from plangate_inbox.web.protection import read_form
from plangate_inbox.web.rendering import Editable, render
from plangate_inbox.web.sessions import Session

_PERIODS = {"1": "the last day", "7": "the last 7 days", "30": "the last 30 days", "": "all plans"}
_MAX_DIFFERENCES = 200


async def show_policy(request: Request) -> Response:
    """The form for a candidate policy."""
    return _page(request, {"days": "30"})


async def simulate_policy(request: Request) -> Response:
    """Try the candidate on stored plans; nothing is changed."""
    session: Session = request.state.session
    form = await read_form(request, session)
    days = form.get("days", "")
    start_time = None
    if days in _PERIODS and days:
        start_time = Timestamp()
        start_time.FromDatetime(datetime.now(UTC) - timedelta(days=int(days)))
    simulation = planner_pb2.SimulatePolicyRequest(
        policy_yaml=form.get("policy", "").replace("\r\n", "\n"),
        start_time=start_time,
        max_differences=_MAX_DIFFERENCES,
    )
    try:
        result = await session.planner.simulate_policy(simulation, timeout_seconds=120.0)
    except PlangateError as error:
        return _page(request, form, error=sentence(error), status=status_of(error))
    return _page(request, form, result=result)


def decision_in_words(decision: plan_pb2.Decision) -> str:
    """allowed, denied, or which approvals it needs."""
    match decision.effect:
        case plan_pb2.EFFECT_ALLOW:
            return "allowed"
        case plan_pb2.EFFECT_DENY:
            return "denied"
        case plan_pb2.EFFECT_REQUIRE_APPROVAL:
            wanted = [*decision.approval_requirements] or [
                plan_pb2.ApprovalRequirement(role=decision.reviewer_role, count=decision.required_approvals)
            ]
            return f"needs {approvals_text(wanted)}"
        case _:
            return "not decided"


def _page(
    request: Request,
    form: dict[str, str],
    *,
    result: planner_pb2.SimulatePolicyResponse | None = None,
    error: str = "",
    status: int = 200,
) -> Response:
    context = {
        "policy": Editable(form.get("policy", "")),
        "days": form.get("days", ""),
        "periods": _PERIODS,
        "result": result,
        "in_words": decision_in_words,
        "error": error,
    }
    return render(request, "policy.html", context, status=status)
