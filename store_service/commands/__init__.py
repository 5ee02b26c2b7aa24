"""One small object per write. Pure Python: the writer in `persistence` gives them rows and keeps what they change."""

from store_service.commands.command import Command, RequestKey
from store_service.commands.executions import (
    ClaimProposals,
    CompleteProposal,
    ExpireLease,
    ExpireProposal,
    FailProposal,
    RenewLease,
)
from store_service.commands.plans import (
    CancelPlan,
    ClaimPlans,
    CompletePlanning,
    CreatePlan,
    DeletePlan,
    ExpirePlanLease,
    FailPlanning,
    RenewPlanLease,
)
from store_service.commands.proposals import (
    ApproveProposal,
    BatchApproveProposals,
    BatchCreateProposals,
    CancelProposal,
    CreateProposal,
    DeleteProposal,
    RejectProposal,
    SubmitProposal,
    UpdateProposal,
    WithdrawApproval,
)

__all__ = [
    "ApproveProposal",
    "BatchApproveProposals",
    "BatchCreateProposals",
    "CancelPlan",
    "CancelProposal",
    "ClaimPlans",
    "ClaimProposals",
    "Command",
    "CompletePlanning",
    "CompleteProposal",
    "CreatePlan",
    "CreateProposal",
    "DeletePlan",
    "DeleteProposal",
    "ExpireLease",
    "ExpirePlanLease",
    "ExpireProposal",
    "FailPlanning",
    "FailProposal",
    "RejectProposal",
    "RenewLease",
    "RenewPlanLease",
    "RequestKey",
    "SubmitProposal",
    "UpdateProposal",
    "WithdrawApproval",
]
