"""Is this what people agreed to? The executor looks for itself before it acts."""

from __future__ import annotations

import hashlib

import rfc8785
from plangate.store.v1 import proposal_pb2

from plangate_core.contract.struct_codec import JsonObject


def consent_fault(proposal: proposal_pb2.Proposal, args: JsonObject) -> str:
    """Why the arguments are not what was approved; empty when they are.

    Compares the proposal's digest with one made here (SHA-256 of the RFC 8785 canonical JSON), and counts the distinct
    reviewers who said yes to that digest.
    """
    digest = hashlib.sha256(rfc8785.dumps(args)).hexdigest()
    if digest != proposal.args_digest:
        return "the arguments do not fit their digest"
    reviewers = {approval.reviewer for approval in proposal.approvals if approval.args_digest == digest}
    reviewers.discard(proposal.created_by)
    if len(reviewers) < proposal.required_approvals:
        return f"{len(reviewers)} of {proposal.required_approvals} required approvals are for these arguments"
    return ""
