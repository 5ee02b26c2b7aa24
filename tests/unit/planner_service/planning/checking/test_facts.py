"""What reviewers are to see is looked up only where the arguments and policy allow it."""

from __future__ import annotations

from datetime import timedelta

from plangate_core.catalogue.catalogue import parse_catalogue
from plangate_core.catalogue.policy_effect import ApprovalRequirement, Effect
from planner_service.governance.decision import Decision
from planner_service.governance.governance import Governance
from planner_service.governance.policy_file import parse_policy
from planner_service.plan import Fact, Job
from planner_service.planning.checking.facts import with_facts
from tests.unit.planner_service.governance.test_policy import MONDAY

CATALOGUE = parse_catalogue("""
version: 1
actions:
- name: get_order
  description: Look an order up.
  read_only: true
  parameters: {properties: {order_id: {type: string, pattern: "^[0-9]+$"}}, required: [order_id]}
- {name: get_customer, description: Look a customer up., read_only: true, policy: require_approval}
- name: refund
  description: Pay back.
  parameters: {properties: {order_id: {type: string}}}
  review: {show: [get_order, get_customer], timeout: 30s}
""")
POLICY = parse_policy("version: 1\nrules: [{name: orders, match: {action: get_order}, effect: allow}]", CATALOGUE)
REVIEW = Decision(Effect.REQUIRE_APPROVAL, "refunds", "somebody looks", (ApprovalRequirement("", 1),))


def facts_of(decision: Decision, **args: str) -> tuple[Fact, ...]:
    job = Job(id="a", action_name="refund", action_args=args, decision=decision)
    [shown] = with_facts([job], Governance(CATALOGUE, POLICY), {}, "alice", MONDAY)
    return shown.facts


def test_a_fact_is_decided_by_policy_like_every_action() -> None:
    order, customer = facts_of(REVIEW, order_id="4711")
    assert (order.action_name, order.action_args, order.failure) == ("get_order", {"order_id": "4711"}, None)
    assert order.decision is not None
    assert (order.decision.effect, order.decision.rule) == (Effect.ALLOW, "orders")
    assert order.decision.approval_ttl == timedelta(seconds=30)
    assert customer.decision is None
    assert customer.failure == (
        "NOT_ALLOWED",
        "policy does not allow it without approval (rule catalogue:get_customer)",
    )


def test_a_fact_whose_arguments_do_not_fit_is_not_looked_up() -> None:
    for args in ({}, {"order_id": "one"}):
        order, _ = facts_of(REVIEW, **args)
        assert order.decision is None
        assert order.failure is not None
        assert order.failure[0] == "ARGUMENTS_INVALID"
        assert "order_id" in order.failure[1]


def test_nothing_is_looked_up_for_what_nobody_reviews() -> None:
    assert facts_of(Decision(Effect.ALLOW, "all", "allowed"), order_id="4711") == ()
