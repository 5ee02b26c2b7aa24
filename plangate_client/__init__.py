"""The Python client of Plangate.

    from plangate_client import VersionConflict, connect

    async with connect(actor="alice") as plangate:
        plan = await plangate.planner.create_plan(CreatePlanRequest(prompt="restart checkout"))
        proposal = await plangate.store.proposals.get(plan.jobs[0].proposal_id)

Public: what `__all__` lists, with the messages of the contract (`plangate.plan.v1`, `plangate.planner.v1`,
`plangate.store.v1`). Everything else may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plangate_client import worker
    from plangate_client.calls import CallPolicy, new_request_id
    from plangate_client.client import Connection, PlannerClient, StoreClient, connect
    from plangate_client.errors import *
    from plangate_core.contract.struct_codec import json_to_struct, struct_to_json
    from plangate_core.rpc.channel import open_channel

__all__ = [
    "ActionNotFound",
    "AlreadyApproved",
    "ArgsDigestMismatch",
    "BudgetExhausted",
    "CallPolicy",
    "CheckpointKeyMissing",
    "CommitUnknown",
    "Conflict",
    "Connection",
    "DatabaseUnavailable",
    "DeadlineExceeded",
    "DeadlineTooShort",
    "Draining",
    "Exhausted",
    "FactsOutstanding",
    "IllegalTransition",
    "InternalFailure",
    "InvalidField",
    "InvalidFilter",
    "InvalidPageToken",
    "InvalidRequest",
    "JobInvalid",
    "LeaseLost",
    "LogMismatch",
    "ModelApproval",
    "ModelNotAllowed",
    "ModelRefused",
    "NotApprovedByCaller",
    "NotFound",
    "NumberNotExact",
    "Overloaded",
    "PermissionDenied",
    "PlanInvalid",
    "PlanNotFound",
    "PlangateError",
    "PlannerClient",
    "PolicyDenied",
    "PreconditionFailed",
    "PromptTooLong",
    "ProposalNotFound",
    "ProviderRateLimited",
    "ProviderRejected",
    "ProviderTimeout",
    "ProviderUnavailable",
    "ReadTimedOut",
    "RequestIdReused",
    "RequirementLowered",
    "ReviewerRoleMissing",
    "RevisionOutOfRange",
    "RoleMissing",
    "SelfApproval",
    "StoreClient",
    "StoreUnavailable",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "VersionConflict",
    "WatchTooSlow",
    "connect",
    "json_to_struct",
    "new_request_id",
    "open_channel",
    "struct_to_json",
    "worker",
]

_PLACES = {
    "CallPolicy": "plangate_client.calls",
    "new_request_id": "plangate_client.calls",
    "PlannerClient": "plangate_client.client",
    "StoreClient": "plangate_client.client",
    "Connection": "plangate_client.client",
    "connect": "plangate_client.client",
    "open_channel": "plangate_core.rpc.channel",
    "json_to_struct": "plangate_core.contract.struct_codec",
    "struct_to_json": "plangate_core.contract.struct_codec",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: a program that needs one name, such as the command's --help, starts without gRPC.
    if name == "worker":
        return import_module("plangate_client.worker")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES.get(name, "plangate_client.errors")), name)


def __dir__() -> list[str]:
    return __all__
