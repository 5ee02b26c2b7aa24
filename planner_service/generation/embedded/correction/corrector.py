"""Corrections of a small model's reply: the one interface of this room.

Read from the reply and its tokens' probabilities, and from a second look at jobs that the model was not sure of. The
limits belong to one exact model (profile.py); other models' replies are taken as they are. Each correction is a
finding: it is shown in the attempt's report and in the plan's warnings.

A refusal counts for a whole plan only. A doubted job among others stays, with a warning.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plangate_core.catalogue.catalogue import Catalogue
from plangate_core.catalogue.finding import Finding
from planner_service.generation.embedded.correction.doubt import doubts
from planner_service.generation.embedded.correction.omissions import made_up_arguments
from planner_service.generation.embedded.correction.profile import ReviewProfile
from planner_service.generation.embedded.correction.second_look import unasked_jobs
from planner_service.generation.reply.draft import LEFT_OUT, NO_MATCHING_ACTION, Corrections, PlanReply

AskBack = Callable[[list[dict[str, str]]], Awaitable[Sequence[Any]]]
"""The tokens of a reply to these messages, as `choices[0].logprobs.content` has them; empty where there is none."""


@dataclass(frozen=True, slots=True)
class ReplyCorrector:
    """Reviews the replies to one request.

    catalogue: what the model was shown. request: all that the requester says.
    """

    profile: ReviewProfile
    catalogue: Catalogue
    request: str

    def of_tokens(self, reply: PlanReply, tokens: Sequence[Any]) -> Corrections:
        """What the probabilities of the reply's tokens say."""
        doubted = self._doubted(tokens)
        made_up = made_up_arguments(reply, tokens, self.catalogue, self.request, self.profile)
        return Corrections(
            refused_jobs=_all_or_none(reply, doubted.keys()),
            left_out=frozenset(made_up),
            findings=(
                *(_doubt(position, probability) for position, probability in sorted(doubted.items())),
                *(_left_out(*place, probability) for place, probability in sorted(made_up.items())),
            ),
        )

    async def second_look(
        self, found: Corrections, reply: PlanReply, tokens: Sequence[Any], ask: AskBack
    ) -> Corrections:
        """What was found, and a second look at the jobs whose action the model was not sure of.

        Raises what `ask` raises.
        """
        if found.refused_jobs:
            return found
        doubted = set(self._doubted(tokens))
        unasked = await unasked_jobs(reply, tokens, self.catalogue, self.request, doubted, self.profile, ask)
        return replace(
            found,
            refused_jobs=_all_or_none(reply, doubted | unasked.keys()),
            findings=(*found.findings, *(_unasked(position, share) for position, share in sorted(unasked.items()))),
        )

    def _doubted(self, tokens: Sequence[Any]) -> dict[int, float]:
        return doubts(tokens, [action.name for action in self.catalogue.actions], self.request, self.profile)


def _all_or_none(reply: PlanReply, doubted: Collection[int]) -> frozenset[int]:
    """The jobs that name an action if each of them is doubted, else none."""
    real = {position for position, job in enumerate(reply.jobs) if job.action_name != NO_MATCHING_ACTION}
    return frozenset(real) if real and real <= set(doubted) else frozenset()


def _doubt(position: int, probability: float) -> Finding:
    message = f"the model was not sure that any action fits, p = {probability:.2f}"
    return Finding(f"jobs.{position}", "doubted", message)


def _unasked(position: int, probability: float) -> Finding:
    message = f"the model says that the request does not ask for this, p = {probability:.2f}"
    return Finding(f"jobs.{position}", "unasked", message)


def _left_out(position: int, name: str, probability: float) -> Finding:
    message = f"left out {name}: the request does not state it, p = {probability:.2f}"
    return Finding(f"jobs.{position}.action_args.{name}", LEFT_OUT, message)
