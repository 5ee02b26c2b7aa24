"""A model that drops the decisive value of a request: no such step is carried out by policy alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plangate.plan.v1 import plan_pb2

from tests.support.model_server import says
from tests.support.planner_house import asking, draft, open_house

CATALOGUE = """
version: 1
actions:
- name: set_feature_flag
  description: Turn a feature flag on or off.
  risk: low
  parameters:
    properties:
      flag: {type: string}
      enabled: {type: boolean}
      environment: {$ref: "#/$defs/environment"}
    required: [flag, enabled]
    $defs: &names
      environment: {type: string, enum: [dev, staging, production], default: staging}
- name: restart_deployment
  description: Restart a deployment.
  risk: low
  parameters:
    properties:
      deployment: {type: string}
      environment: {$ref: "#/$defs/environment"}
      mode: {type: string, enum: [rolling, immediate], default: rolling}
    required: [deployment]
    $defs: *names
- name: unlock_account
  description: Unlock an account.
  risk: low
  parameters: {properties: {user: {type: string}}, required: [user]}
- name: give_voucher
  description: Give a customer a voucher.
  risk: low
  parameters:
    properties:
      user: {type: string}
      amount: {type: integer, default: 5}
      currency: {type: string, enum: [EUR, USD, GBP], default: EUR}
    required: [user]
- name: post_message
  description: Post a message.
  risk: low
  parameters:
    properties: {channel: {type: string, default: "#general"}, text: {type: string}}
    required: [text]
"""
EVERYTHING = "version: 1\nrules: [{name: everything, effect: allow}]"

Step = tuple[str, dict[str, Any]]


def requests() -> Iterator[tuple[str, list[Step], list[Step]]]:
    """Request, the steps that it asks for, and the steps of a model that drops a value of it."""
    for number, flag in enumerate(["new-checkout", "dark-mode", "search-v2", "fast-lane", "beta-banner"]):
        state = ["off", "on"][number % 2]
        flag_step = ("set_feature_flag", {"flag": flag, "enabled": state == "on"})
        for environment in ("production", "dev"):
            right = ("set_feature_flag", {**flag_step[1], "environment": environment})
            unlock: Step = ("unlock_account", {"user": f"ann{number}@example.org"})
            yield f"turn {flag} {state} in {environment}", [right], [flag_step]
            yield (
                f"turn {flag} {state} in {environment} and unlock ann{number}@example.org",
                [right, unlock],
                [flag_step, unlock],
            )
            # The other value, written by the model itself.
            wrong = ("set_feature_flag", {**flag_step[1], "environment": "staging"})
            yield f"In {environment.capitalize()}: {flag} must be {state}.", [right], [wrong]
    for name in ["search", "billing", "cart", "mail", "login"]:
        for environment in ("production", "dev"):
            step = ("restart_deployment", {"deployment": name})
            right = ("restart_deployment", {"deployment": name, "environment": environment})
            yield f"restart {name} in {environment}", [right], [step]
            immediate = ("restart_deployment", {**right[1], "mode": "immediate"})
            yield f"restart {name} in {environment}, immediate restart please", [immediate], [right]
        both = [
            ("restart_deployment", {"deployment": name, "environment": "staging"}),
            ("restart_deployment", {"deployment": name, "environment": "production"}),
        ]
        yield f"restart {name} in staging, then in production", both, both[:1]
        yield f"restart {name} in staging, then in production", both, [both[0], both[0]]
    for number in range(10):
        user = f"bo{number}@example.org"
        amount = 20 + number
        step = ("give_voucher", {"user": user})
        yield f"give {user} a voucher of {amount}", [(step[0], {**step[1], "amount": amount})], [step]
        pounds = (step[0], {**step[1], "currency": "GBP"})
        yield f"a voucher for {user}, in GBP", [pounds], [step]
    for number in range(10):
        channel = f"#team-{number}"
        step = ("post_message", {"text": "done"})
        yield f'post "done" to {channel}', [(step[0], {**step[1], "channel": channel})], [step]
        two = [
            ("unlock_account", {"user": f"c{number}@example.org"}),
            ("unlock_account", {"user": f"d{number}@example.org"}),
        ]
        yield f"unlock c{number}@example.org and d{number}@example.org", two, two[:1]


def test_there_are_a_hundred() -> None:
    assert len(list(requests())) == 100


@pytest.mark.asyncio
async def test_what_lost_a_value_waits_for_a_person_and_what_is_whole_does_not(tmp_path: Path) -> None:
    carried_out: list[str] = []
    held_up: list[str] = []
    async with open_house(tmp_path, catalogue=CATALOGUE, policy=EVERYTHING) as house:
        planner = house.planner()
        for prompt, right, dropped in requests():
            for steps, wrong in ((dropped, True), (right, False)):
                house.model.default = says(json.dumps(draft(*steps)))
                # Another context makes another request of it: what the cache has is what the other model said.
                plan = await planner.create_plan(asking(prompt, validate_only=True, context={"whole": not wrong}))
                effects = {job.decision.effect for job in plan.jobs}
                # What stands beside the step that lost its value, and is whole, may be carried out.
                lost = [job for job in plan.jobs if job.action_name != "unlock_account"] or plan.jobs
                if wrong and any(job.decision.effect == plan_pb2.EFFECT_ALLOW for job in lost):
                    carried_out.append(f"{prompt}: {steps}")
                if not wrong and effects != {plan_pb2.EFFECT_ALLOW}:
                    held_up.append(f"{prompt}: {[job.decision.reason for job in plan.jobs]}")
    assert carried_out == []
    assert held_up == []
