"""Notifications, made from events of the log without I/O."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

from plangate.store.v1 import event_pb2, proposal_pb2

from plangate_client.outlook.dependencies import next_step
from plangate_client.outlook.facts import facts_outstanding
from plangate_client.outlook.waiting import approvals_missing, approvals_text
from plangate_core.contract.enum_names import enum_name
from plangate_core.text.printable import visible
from plangate_core.text.truncation import truncate
from plangate_inbox.notifications.notify_file import Occasion, ReceiverForm, templates
from plangate_inbox.views import times

_NAMESPACE = uuid.UUID("8d1f4a5e-6c0b-4f5e-9a53-6f1f0a7f3c11")
_TITLE_CHARACTERS = 300
_SUBJECTS: Mapping[Occasion, str] = {
    "waiting": "Please decide",
    "revised": "Revised",
    "expiring": "Expires soon",
    "ended": "Ended",
}
_ENDED = {
    "proposal.executed": "was carried out",
    "proposal.failed": "failed",
    "proposal.rejected": "was rejected",
    "proposal.cancelled": "was cancelled",
    "proposal.expired": "expired",
    "proposal.unresolved": "ended with an unknown outcome",
}
WATCHED_KINDS = (
    "proposal.created",
    "proposal.submitted",
    "proposal.updated",
    "proposal.fact_recorded",
    *_ENDED,
    "plan.failed",
)
"""Kinds of events that notifications are made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One thing to tell. Every text is written so that it shows what is there (see plangate_core.text.printable).

    `id` is the same however often it is sent to one receiver.
    """

    id: str
    event: Occasion
    revision: int
    time: str
    title: str
    sentence: str
    link: str
    action: str = ""
    requester: str
    roles: tuple[str, ...] = ()
    """Who must approve; empty for any reviewer, and where nothing is to be approved."""
    actor: str
    comment: str
    reason: str = ""
    expires: str = ""
    state: str
    proposal_id: str = ""
    plan_id: str

    @property
    def subject(self) -> str:
        """One line."""
        return f"{_SUBJECTS[self.event]}: {self.title}"

    @property
    def text(self) -> str:
        """Some lines."""
        lines = [self.title, "", self.sentence]
        if self.reason and self.event != "ended":
            lines.append(f"Why it is asked: {self.reason}")
        if self.comment:
            lines.append(f"{self.actor}: {self.comment}")
        if self.expires and self.event != "ended":
            lines.append(f"Expires: {self.expires}")
        lines += [f"Requested by {self.requester}.", *(["", self.link] if self.link else [])]
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """For webhooks and commands."""
        return {**asdict(self), "roles": list(self.roles), "subject": self.subject, "text": self.text}


def from_event(event: event_pb2.Event, receiver: str, url: str) -> Notification | None:
    """The notification of an event (RESOURCE view); None for events that notify of nothing."""
    if event.kind == "plan.failed":
        return _of_plan(event, receiver, url)
    if not event.HasField("proposal") or event.proposal.fact_for:
        return None
    proposal = event.proposal
    if event.kind in _ENDED:
        sentence = f"It {_ENDED[event.kind]}. {next_step(proposal)}"
        return _of_proposal("ended", event, proposal, receiver, url, sentence)
    if proposal.state != proposal_pb2.PROPOSAL_STATE_PENDING or facts_outstanding(proposal):
        return None
    wanted = f"It waits for {approvals_text(approvals_missing(proposal))}."
    if event.kind == "proposal.updated":
        return _of_proposal("revised", event, proposal, receiver, url, f"{event.actor} revised it. {wanted}")
    return _of_proposal("waiting", event, proposal, receiver, url, wanted)


def before_expiry(proposal: proposal_pb2.Proposal, receiver: str, url: str) -> Notification:
    """The notification of a proposal that expires soon."""
    event = event_pb2.Event(revision=0, kind="expiring", actor="", time=proposal.update_time)
    sentence = f"It still waits for {approvals_text(approvals_missing(proposal))}. No answer is a no."
    return _of_proposal("expiring", event, proposal, receiver, url, sentence)


def concerns(notification: Notification, receiver: ReceiverForm) -> bool:
    """Whether a receiver hears of it."""
    return (
        notification.event in receiver.events
        and (receiver.role is None or receiver.role in notification.roles)
        and (receiver.requester is None or receiver.requester == notification.requester)
        and (receiver.actions is None or any(fnmatchcase(notification.action, pattern) for pattern in receiver.actions))
    )


def worded(notification: Notification, receiver: ReceiverForm) -> tuple[str, str]:
    """Subject and text as the receiver wants them. Raises jinja2.TemplateError."""
    values = notification.as_json()
    subject = templates().from_string(receiver.subject).render(values) if receiver.subject else notification.subject
    text = templates().from_string(receiver.text).render(values) if receiver.text else notification.text
    return " ".join(subject.split()), text


def _of_proposal(
    kind: Occasion, event: event_pb2.Event, proposal: proposal_pb2.Proposal, receiver: str, url: str, sentence: str
) -> Notification:
    missing = approvals_missing(proposal) if kind != "ended" else []
    what = str(event.revision) if event.revision else f"{kind}/{proposal.id}/{proposal.expire_time.ToJsonString()}"
    return Notification(
        id=str(uuid.uuid5(_NAMESPACE, f"{receiver}/{what}")),
        event=kind,
        revision=event.revision,
        time=times.iso(event.time),
        title=truncate(visible(proposal.description or proposal.action_name), _TITLE_CHARACTERS),
        sentence=visible(sentence),
        link=f"{url}/proposals/{proposal.id}" if url else "",
        action=visible(proposal.action_name),
        requester=visible(proposal.created_by),
        roles=tuple(entry.role for entry in missing if entry.role),
        actor=visible(event.actor),
        comment=visible(event.comment, newlines=True),
        reason=visible(proposal.decision.reason),
        expires=times.exact(proposal.expire_time) if proposal.HasField("expire_time") else "",
        state=enum_name(proposal, "state"),
        proposal_id=proposal.id,
        plan_id=proposal.plan_id,
    )


def _of_plan(event: event_pb2.Event, receiver: str, url: str) -> Notification:
    plan = event.plan
    return Notification(
        id=str(uuid.uuid5(_NAMESPACE, f"{receiver}/{event.revision}")),
        event="ended",
        revision=event.revision,
        time=times.iso(event.time),
        title=truncate(visible(plan.objective or plan.prompt), _TITLE_CHARACTERS),
        sentence=visible(f"No plan came of it. {plan.failure.message}"),
        link=f"{url}/plans/{plan.id}" if url else "",
        requester=visible(plan.created_by),
        actor=visible(event.actor),
        comment=visible(event.comment, newlines=True),
        state=enum_name(plan, "state"),
        plan_id=plan.id,
    )
