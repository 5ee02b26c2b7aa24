"""Looks up whether actions were carried out whose executors never reported: `reconcile` of a catalogue or a worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from plangate.store.v1 import proposal_pb2

from plangate_client.client import StoreClient
from plangate_client.errors import PlangateError
from plangate_client.executor.catalogue import BoundAction, Function
from plangate_client.executor.environment import ExecutionEnvironment
from plangate_client.executor.outcome import Answer, Outcome
from plangate_client.executor.template import ArgumentMissing, ArgumentRefused
from plangate_core.contract.struct_codec import StructRefused, json_to_struct, struct_to_json

_PAUSE_SECONDS = 5.0
# An action that takes its executor along each time is not begun for ever.
_MAX_TRIES = 3
_NOT_FOUND = (404, 410)
_log = logging.getLogger(__name__)


class Reconciler:
    """Resolves UNRESOLVED proposals of actions that have a look-up; the others, and those whose look-up does not know,
    wait for a person."""

    def __init__(
        self,
        store: StoreClient,
        actions: Mapping[str, BoundAction],
        environment: ExecutionEnvironment,
        *,
        plan_id: str,
        grace_seconds: float,
    ) -> None:
        """:param grace_seconds: how long after the end of its lease an executor may still be at work: only then is "not
        carried out" believed."""
        self._store = store
        self._actions = {name: action for name, action in actions.items() if action.reconcile is not None}
        self._environment = environment
        self._plan_id = plan_id
        self._grace_seconds = grace_seconds
        self._next_look = 0.0

    async def look(self) -> None:
        """Look all up that wait for it, unless that was done a moment ago. A store that is away is no error here."""
        if not self._actions or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _PAUSE_SECONDS
        names = " OR ".join(f'action_name = "{name}"' for name in sorted(self._actions))
        of_plan = f' AND plan_id = "{self._plan_id}"' if self._plan_id else ""
        try:
            async for proposal in self._store.proposals.list_all(filter=f"state = UNRESOLVED AND ({names}){of_plan}"):
                await self._resolve(proposal)
        except PlangateError as error:
            _log.warning("unresolved proposals cannot be looked up now", exc_info=error)

    async def _resolve(self, proposal: proposal_pb2.Proposal) -> None:
        answer = await self._look_up(proposal)
        done = answer.done
        if done is None:
            _log.warning("the look-up of %s does not say whether it was carried out: %s", proposal.id, answer.how)
            return
        ended_at = proposal.lease.expire_time.ToMicroseconds() / 1_000_000
        if not done and time.time() < ended_at + self._grace_seconds:
            return
        try:
            await self._store.proposals.resolve(
                proposal.id,
                expected_version=proposal.version,
                done=done,
                retry=not done and proposal.attempt < max(_MAX_TRIES, proposal.max_attempts),
                reason=f"looked up: {answer.how}",
                result=json_to_struct(answer.result, "result") if done else None,
            )
        except PlangateError as error:
            # Somebody else was faster, in most cases.
            _log.info("%s was not resolved", proposal.id, exc_info=error)

    async def _look_up(self, proposal: proposal_pb2.Proposal) -> Answer:
        binding = self._actions[proposal.action_name].reconcile
        assert binding is not None
        try:
            args = struct_to_json(proposal.action_args, "action_args")
            if not isinstance(binding, Function):
                return answer_of(await self._environment.run(binding, proposal, args))
            assert binding.look_up is not None
            return await binding.look_up(proposal, args)
        except (StructRefused, ArgumentMissing, ArgumentRefused) as error:
            return Answer(None, str(error))


def answer_of(outcome: Outcome) -> Answer:
    """What the outcome of a command or request means."""
    exit_status, status = outcome.result.get("exit_status"), outcome.result.get("status")
    if isinstance(exit_status, int):
        return Answer({0: True, 1: False}.get(exit_status), f"exit status {exit_status}", outcome.result)
    if isinstance(status, int):
        done = True if 200 <= status <= 299 else False if status in _NOT_FOUND else None
        return Answer(done, f"HTTP status {status}", outcome.result)
    return Answer(None, outcome.message or outcome.reason)
