"""Actions of this project that are Python functions: plangate work --worker actions"""

from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from plangate_client import worker


class Refund(BaseModel):
    """What a refund gives back."""

    refund_id: str


@worker.action("refund_order", risk="high")
def refund_order(
    order_id: Annotated[str, Field(pattern="^[0-9]{4,10}$", description="The order's number, for example 4711")],
    amount: Annotated[Decimal, Field(gt=0, le=1000, description="Amount in euros")],
) -> Refund:
    """Pay an order back to the customer."""
    call = worker.current_call()
    # Your payment provider goes here. The proposal's id is the same in every attempt: its idempotency key.
    with Path("refunds.txt").open("a", encoding="utf-8") as ledger:
        ledger.write(f"{order_id} {amount} {call.proposal_id}\n")
    return Refund(refund_id=f"r-{call.proposal_id[-8:]}")
