"""python -m pytest: the actions go through the executor's own checks, without servers."""

import asyncio
from pathlib import Path

import pytest
from actions import refund_order

from plangate_client.worker import testing


def test_a_refund_is_paid_once_it_is_approved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args = {"order_id": "4711", "amount": 89.9}
    refused = asyncio.run(testing.run_job(refund_order, args, required_approvals=1))
    assert refused.reason == "CONSENT_MISSING"
    paid = asyncio.run(testing.run_job(refund_order, args, required_approvals=1, approved_by=["bob"]))
    assert paid.succeeded, paid.message
    assert (tmp_path / "refunds.txt").read_text().startswith("4711 89.9 ")
