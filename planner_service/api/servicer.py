"""The wire's face of the planner: decode, call the use case, encode. Nothing else."""

from __future__ import annotations

import asyncio
import base64
import binascii

import grpc
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import action_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2
from plangate.planner.v1.planner_service_pb2_grpc import PlannerServiceServicer
from plangate.store.v1 import proposal_pb2

from plangate_core.catalogue.catalogue import Catalogue
from plangate_core.catalogue.document import DocumentInvalid
from plangate_core.rpc.correlation import NEW_REQUEST_KEY
from plangate_core.rpc.identity.caller import current_caller
from planner_service.api import requests
from planner_service.api.permissions import missing_role
from planner_service.errors import ActionNotFound, InvalidField, InvalidPageToken, StreamNotRead
from planner_service.messages import decoding, encoding
from planner_service.plan import Plan, PlanRequest, PlanUpdate, StoredPlan
from planner_service.planning.observer import PlanObserver
from planner_service.planning.policy_simulation import Simulations
from planner_service.planning.use_cases import Planning
from planner_service.store_gateway import StoreGateway

_DEFAULT_PAGE = 50
_LARGEST_PAGE = 1000
_DEFAULT_DIFFERENCES = 100

Context = grpc.aio.ServicerContext[object, object]


class PlannerServicer(PlannerServiceServicer):
    """plangate.planner.v1.PlannerService."""

    def __init__(
        self,
        planning: Planning,
        store: StoreGateway,
        simulations: Simulations,
        *,
        max_prompt_characters: int,
        plan_timeout_seconds: float,
        stream_stall_seconds: float,
    ) -> None:
        self._planning = planning
        self._store = store
        self._simulations = simulations
        self._max_prompt_characters = max_prompt_characters
        self._plan_timeout_seconds = plan_timeout_seconds
        self._stream_stall_seconds = stream_stall_seconds

    async def CreatePlan(self, request: planner_pb2.CreatePlanRequest, context: Context) -> plan_pb2.Plan:
        return _answer(await self._create(request, context))

    # grpc.aio takes a coroutine that writes as well as a generator; the stubs know generators only.
    async def StreamPlan(  # type: ignore[override]
        self, request: planner_pb2.CreatePlanRequest, context: Context
    ) -> None:
        # As bounded as the plan itself; None is the end.
        updates: asyncio.Queue[PlanUpdate | None] = asyncio.Queue()
        planning = asyncio.create_task(self._create(request, context, updates.put_nowait))
        planning.add_done_callback(lambda _: updates.put_nowait(None))
        try:
            while (update := await updates.get()) is not None:
                await self._write(context, encoding.update_to_proto(update))
            await self._write(context, planner_pb2.PlanUpdate(plan=_answer(await planning)))
        finally:
            # Also when the caller went away or this call was cut off: the model's reply has no use then.
            planning.cancel()
            await asyncio.gather(planning, return_exceptions=True)

    async def _create(
        self, request: planner_pb2.CreatePlanRequest, context: Context, observer: PlanObserver | None = None
    ) -> StoredPlan | Plan:
        return await self._planning.create(
            self._plan_request(request),
            requester=current_caller().identity,
            request_id=requests.request_id_from_proto(request.request_id),
            validate_only=request.validate_only,
            deadline=self._deadline(context),
            is_new=(NEW_REQUEST_KEY, "true") in (context.invocation_metadata() or ()),
            observer=observer,
        )

    async def _write(self, context: Context, update: planner_pb2.PlanUpdate) -> None:
        """Returns when the message has left, which it cannot while the client's window is full."""
        try:
            async with asyncio.timeout(self._stream_stall_seconds):
                await context.write(update)
        except TimeoutError:
            # A client that is there but does not read would hold its plan in memory, and one of the streams, for ever.
            raise StreamNotRead from None

    async def EnqueuePlan(self, request: planner_pb2.EnqueuePlanRequest, context: Context) -> plan_pb2.Plan:
        wanted = self._plan_request(request.request, "request.")
        queue = requests.queueing_from_proto(request)
        stored = await self._planning.enqueue(
            wanted,
            queue,
            requester=current_caller().identity,
            request_id=requests.request_id_from_proto(request.request.request_id, "request.request_id"),
            validate_only=request.request.validate_only,
            deadline=self._deadline(context),
        )
        return encoding.queued_plan_to_proto(wanted, queue) if stored is None else _answer(stored)

    async def EvaluatePlan(
        self, request: planner_pb2.EvaluatePlanRequest, context: Context
    ) -> planner_pb2.EvaluatePlanResponse:
        evaluation = await self._planning.evaluate(
            requests.brought_jobs_from_proto(request.jobs),
            requests.labels_from_proto(request.labels, "labels"),
            current_caller().identity,
        )
        return planner_pb2.EvaluatePlanResponse(
            jobs=[encoding.job_to_proto(job) for job in evaluation.jobs],
            errors=[encoding.error_to_proto(error) for error in evaluation.errors],
            catalogue_digest=evaluation.governance.catalogue.digest,
            policy_digest=evaluation.governance.policy.digest,
        )

    async def SubmitPlan(self, request: planner_pb2.SubmitPlanRequest, context: Context) -> plan_pb2.Plan:
        return _answer(
            await self._planning.submit(
                requests.brought_plan_from_proto(request),
                requester=current_caller().identity,
                request_id=requests.request_id_from_proto(request.request_id),
                validate_only=request.validate_only,
                deadline=self._deadline(context),
            )
        )

    async def ReviseProposal(
        self, request: planner_pb2.ReviseProposalRequest, context: Context
    ) -> proposal_pb2.Proposal:
        revised = await self._planning.revise(
            requests.revision_from_proto(request),
            requester=current_caller().identity,
            scope=current_caller().scope,
            unless_creator=missing_role("ReviseProposal", current_caller().roles),
            deadline=self._deadline(context),
        )
        assert isinstance(revised.answer, proposal_pb2.Proposal)
        return revised.answer

    async def ListActions(
        self, request: planner_pb2.ListActionsRequest, context: Context
    ) -> planner_pb2.ListActionsResponse:
        if request.page_size < 0:
            raise InvalidField("page_size", "must not be negative")
        size = min(request.page_size or _DEFAULT_PAGE, _LARGEST_PAGE)
        catalogue = self._planning.governance.catalogue
        after = _read_page_token(request.page_token, catalogue)
        following = sorted(
            (action for action in catalogue.actions if action.name > after), key=lambda action: action.name
        )
        page = following[:size]
        return planner_pb2.ListActionsResponse(
            actions=[encoding.action_to_proto(action) for action in page],
            next_page_token=_page_token(page[-1].name, catalogue) if len(following) > size else "",
            catalogue_digest=catalogue.digest,
        )

    async def GetAction(self, request: planner_pb2.GetActionRequest, context: Context) -> action_pb2.Action:
        if not request.name:
            raise InvalidField("name", "is required")
        action = self._planning.governance.catalogue.find(request.name)
        if action is None:
            raise ActionNotFound(request.name)
        return encoding.action_to_proto(action)

    async def SimulatePolicy(
        self, request: planner_pb2.SimulatePolicyRequest, context: Context
    ) -> planner_pb2.SimulatePolicyResponse:
        caller = current_caller()
        if missing := missing_role("SimulatePolicy", caller.roles):
            raise missing
        if request.max_differences < 0:
            raise InvalidField("max_differences", "must not be negative")
        start = decoding.time_from_proto(request.start_time, "start_time") if request.HasField("start_time") else None
        end = decoding.time_from_proto(request.end_time, "end_time") if request.HasField("end_time") else None
        try:
            candidate, simulation = await self._simulations.run(
                request.policy_yaml,
                self._store.past_plans(start, end, caller),
                self._planning.governance.catalogue,
                min(request.max_differences or _DEFAULT_DIFFERENCES, _LARGEST_PAGE),
            )
        except DocumentInvalid as error:
            raise InvalidField("policy_yaml", f"is no policy: {'; '.join(error.lines())}") from None
        return planner_pb2.SimulatePolicyResponse(
            jobs_evaluated=simulation.jobs_evaluated,
            jobs_different=simulation.jobs_different,
            differences=[
                planner_pb2.DecisionDifference(
                    plan_id=difference.plan_id,
                    job_id=difference.job_id,
                    action_name=difference.action_name,
                    actual=encoding.decision_to_proto(difference.actual),
                    candidate=encoding.decision_to_proto(difference.candidate),
                )
                for difference in simulation.differences
            ],
            policy_digest=candidate.digest,
            warnings=candidate.warnings,
        )

    def _plan_request(self, request: planner_pb2.CreatePlanRequest, path: str = "") -> PlanRequest:
        return requests.plan_request_from_proto(request, max_prompt_characters=self._max_prompt_characters, path=path)

    def _deadline(self, context: Context) -> float:
        """On the event loop's clock: the caller's, but not beyond what planning may take."""
        remaining = context.time_remaining()
        limit = self._plan_timeout_seconds
        return asyncio.get_running_loop().time() + (limit if remaining is None else min(remaining, limit))


def _answer(plan: StoredPlan | Plan) -> plan_pb2.Plan:
    if isinstance(plan, Plan):
        return encoding.plan_to_proto(plan)
    assert isinstance(plan.answer, plan_pb2.Plan)
    return plan.answer


def _page_token(last_name: str, catalogue: Catalogue) -> str:
    return base64.urlsafe_b64encode(f"{catalogue.digest[:16]}{last_name}".encode()).decode()


def _read_page_token(token: str, catalogue: Catalogue) -> str:
    """The name after which the page begins. Raises InvalidPageToken."""
    if not token:
        return ""
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise InvalidPageToken from None
    if not text.startswith(catalogue.digest[:16]):
        raise InvalidPageToken
    return text[16:]
