"""The file that says who is notified of what. docs/how-to/notifications.md describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from jinja2 import Environment, StrictUndefined, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment
from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from plangate_core.catalogue.document import Document, DocumentInvalid, Form
from plangate_core.catalogue.duration_text import DurationText, parse_duration
from plangate_core.catalogue.yaml_document import parse_document, read_text


class NotifyFileInvalid(DocumentInvalid):
    """The file cannot be used; has all faults with their places."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=10_000)]
Address = Annotated[str, StringConstraints(pattern=r"^[^\s<>@]+@[^\s<>@]+$|^requester$", max_length=254)]


Occasion = Literal["waiting", "revised", "expiring", "ended"]
"""What people are notified of."""


class WebhookForm(Form):
    """An HTTP POST. `url_file` and `secret_file` hold what must not stand in this file."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")] | None = None
    url_file: str | None = None
    secret_file: str | None = None
    body: Literal["plangate", "slack", "teams"] = "plangate"

    @model_validator(mode="after")
    def _has_one_url(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("give one of url and url_file")
        return self


class EmailForm(Form):
    """A message to addresses; "requester" stands for the address of the one who requested it, from `people`."""

    to: Annotated[list[Address], Field(min_length=1, max_length=50), BeforeValidator(_listed)]


class CommandForm(Form):
    """A program without a shell; it gets the notification as JSON on standard input."""

    argv: Annotated[list[Text], Field(min_length=1, max_length=100)]
    timeout: DurationText = "30s"


class ReceiverForm(Form):
    """One receiver: how it is reached, and of what it hears."""

    name: Name
    events: Annotated[list[Occasion], Field(min_length=1)]
    role: str | None = None
    """Only what this role must approve. Absent: any role."""
    requester: str | None = None
    """Only what this identity requested. Absent: any."""
    actions: Annotated[list[Text], Field(min_length=1), BeforeValidator(_listed)] | None = None
    """Only these actions, as patterns with * and ?. Absent: all."""
    webhook: WebhookForm | None = None
    email: EmailForm | None = None
    command: CommandForm | None = None
    subject: Text | None = None
    """A Jinja template in place of the built-in subject."""
    text: Text | None = None
    """A Jinja template in place of the built-in text."""

    @model_validator(mode="after")
    def _is_reached_one_way(self) -> Self:
        if sum(way is not None for way in (self.webhook, self.email, self.command)) != 1:
            raise ValueError("give one of webhook, email and command")
        for template in (self.subject, self.text):
            if template is not None:
                try:
                    templates().from_string(template)
                except TemplateSyntaxError as error:
                    raise ValueError(f"the template cannot be read: {error.message}") from None
        return self


class SmtpForm(Form):
    """The mail server that takes messages."""

    host: Text
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    sender: Annotated[str, StringConstraints(pattern=r"^[^\s<>@]+@[^\s<>@]+$")]
    security: Literal["none", "starttls", "tls"] = "starttls"
    username: str | None = None
    password_file: str | None = None


class NotifyForm(Form):
    """The whole file."""

    version: Literal[1]
    before_expiry: DurationText = "1h"
    give_up_after: DurationText = "3d"
    smtp: SmtpForm | None = None
    people: dict[str, Annotated[str, StringConstraints(pattern=r"^[^\s<>@]+@[^\s<>@]+$")]] = Field(default_factory=dict)
    receivers: Annotated[list[ReceiverForm], Field(min_length=1, max_length=100)]

    @property
    def before_expiry_seconds(self) -> float:
        """How long before the expiry of a proposal a reminder is sent."""
        return parse_duration(self.before_expiry).total_seconds()

    @property
    def give_up_seconds(self) -> float:
        """How long one notification is tried."""
        return parse_duration(self.give_up_after).total_seconds()


def load_notify_file(path: Path) -> NotifyForm:
    """Read the file. Raises NotifyFileInvalid."""
    source = str(path)
    try:
        document: Document = parse_document(read_text(path, "notify"))
        form = document.fit(NotifyForm)
        if form is not None:
            _check_whole(form, document)
        document.raise_faults()
    except DocumentInvalid as error:
        raise NotifyFileInvalid.of(error, source) from error
    assert form is not None
    return form


def templates() -> Environment:
    """Where templates of the file are rendered: nothing but the values given, every one of them a text."""
    return SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


def _check_whole(form: NotifyForm, document: Document) -> None:
    names: set[str] = set()
    for index, receiver in enumerate(form.receivers):
        if receiver.name in names:
            document.refuse(("receivers", index, "name"), f"the receiver {receiver.name!r} is given twice")
        names.add(receiver.name)
        if receiver.email is not None and form.smtp is None:
            document.refuse(("receivers", index, "email"), "e-mail needs smtp: the mail server")
