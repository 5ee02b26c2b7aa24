"""Workers in Python: functions that carry out approved proposals.

    from decimal import Decimal
    from plangate_client import worker

    @worker.action("refund_order", risk="high")
    async def refund(order_id: str, amount: Decimal) -> Refund:
        "Pay an order back."
        return await bank.refund(order_id, amount, key=worker.current_call().proposal_id)

The signature is the action's schema: `plangate catalogue from-worker MODULE` writes it for the planner, and
`plangate work --worker MODULE` carries the actions out with every guarantee of `plangate work`
(docs/how-to/workers.md).
Functions that are not coroutines run in threads. `plangate_client.worker.testing` runs one job without servers.
"""

from plangate_client.worker.action import ActionFailed, Call, NotCarriedOut, WorkerAction, action, current_call
from plangate_client.worker.catalogue_text import catalogue_yaml
from plangate_client.worker.loading import WorkerNotFound, load_actions
from plangate_client.worker.running import run

__all__ = [
    "ActionFailed",
    "Call",
    "NotCarriedOut",
    "WorkerAction",
    "WorkerNotFound",
    "action",
    "catalogue_yaml",
    "current_call",
    "load_actions",
    "run",
]
