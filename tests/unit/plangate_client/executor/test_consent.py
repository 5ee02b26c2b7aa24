"""The executor counts approvals of exactly these arguments itself."""

from __future__ import annotations

import hashlib

import pytest
import rfc8785
from plangate.store.v1 import proposal_pb2

from plangate_client.executor.consent import consent_fault

ARGS = {"path": "a", "count": 3}
DIGEST = hashlib.sha256(rfc8785.dumps(ARGS)).hexdigest()


def proposal(*reviewers: str, required: int, digest: str = DIGEST, approved: str = DIGEST) -> proposal_pb2.Proposal:
    return proposal_pb2.Proposal(
        args_digest=digest,
        required_approvals=required,
        created_by="alice",
        approvals=[proposal_pb2.Approval(reviewer=reviewer, args_digest=approved) for reviewer in reviewers],
    )


@pytest.mark.parametrize(
    "enough", [proposal(required=0), proposal("bob", required=1), proposal("bob", "carol", required=2)]
)
def test_enough(enough: proposal_pb2.Proposal) -> None:
    assert consent_fault(enough, dict(ARGS)) == ""


@pytest.mark.parametrize(
    "missing",
    [
        proposal(required=1),
        proposal("bob", "bob", required=2),
        proposal("alice", required=1),
        proposal("bob", required=1, approved="0" * 64),
        proposal("bob", required=1, digest="0" * 64),
    ],
)
def test_not_enough(missing: proposal_pb2.Proposal) -> None:
    assert consent_fault(missing, dict(ARGS)) != ""
