"""How a receiver is reached: a webhook, e-mail, a command. One attempt each; repeating is delivery's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol

import aiohttp
import aiosmtplib

from plangate_core.catalogue.duration_text import parse_duration
from plangate_inbox.notifications.bodies import body_of, signature
from plangate_inbox.notifications.notification import Notification
from plangate_inbox.notifications.notify_file import (
    CommandForm,
    EmailForm,
    NotifyForm,
    ReceiverForm,
    SmtpForm,
    WebhookForm,
)

_TIMEOUT_SECONDS = 15.0
# Answers that another attempt may change.
_TEMPORARY = frozenset({408, 425, 429, *range(500, 600)})
_PERMANENT_FROM = 400


class TemporaryFailure(Exception):
    """It was not delivered now; another attempt may do better."""


class PermanentFailure(Exception):
    """It will not be delivered, however often it is tried."""


class Channel(Protocol):
    """Delivers one notification once."""

    async def send(self, notification: Notification, subject: str, text: str) -> None:
        """Raises TemporaryFailure, PermanentFailure. Returns when the receiver has taken it."""
        ...


def channel_of(receiver: ReceiverForm, form: NotifyForm, http: aiohttp.ClientSession) -> Channel:
    """The receiver's channel. Raises OSError when one of its files cannot be read."""
    if receiver.webhook is not None:
        return Webhook(receiver.webhook, http)
    if receiver.email is not None:
        assert form.smtp is not None
        return Email(receiver.email, form.smtp, form.people)
    assert receiver.command is not None
    return Command(receiver.command)


class Webhook:
    """An HTTP POST with the notification's id, signed when there is a secret. Redirects are not followed."""

    def __init__(self, form: WebhookForm, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._body = form.body
        self._url = form.url or _line(form.url_file)
        self._secret = _line(form.secret_file).encode() if form.secret_file else None

    async def send(self, notification: Notification, subject: str, text: str) -> None:
        body = json.dumps(body_of(self._body, notification, subject, text), ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "plangate",
            "Plangate-Notification-Id": notification.id,
        }
        if self._secret is not None:
            headers["Plangate-Signature"] = signature(self._secret, int(time.time()), body)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        try:
            async with self._http.post(
                self._url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # The URL may hold a secret: the message names the kind of error only.
            raise TemporaryFailure(type(error).__name__) from error
        if status in _TEMPORARY:
            raise TemporaryFailure(f"HTTP {status}")
        if status >= _PERMANENT_FROM or 300 <= status < _PERMANENT_FROM:
            raise PermanentFailure(f"HTTP {status}")


class Email:
    """One message to all addresses."""

    def __init__(self, form: EmailForm, smtp: SmtpForm, people: Mapping[str, str]) -> None:
        self._to = form.to
        self._smtp = smtp
        self._people = people
        self._password = _line(smtp.password_file) if smtp.password_file else None

    async def send(self, notification: Notification, subject: str, text: str) -> None:
        addresses = [self._people.get(notification.requester) if to == "requester" else to for to in self._to]
        known = [address for address in addresses if address]
        if not known:
            raise PermanentFailure(f"no address is known of {notification.requester}")
        message = EmailMessage()
        message["From"] = self._smtp.sender
        message["To"] = ", ".join(dict.fromkeys(known))
        message["Subject"] = subject
        message["Message-ID"] = f"<{notification.id}@{self._smtp.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        smtp = self._smtp
        try:
            await aiosmtplib.send(
                message,
                hostname=smtp.host,
                port=smtp.port,
                username=smtp.username,
                password=self._password,
                use_tls=smtp.security == "tls",
                start_tls=smtp.security == "starttls",
                timeout=_TIMEOUT_SECONDS,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            if all(400 <= refused.code < 500 for refused in error.recipients):
                raise TemporaryFailure("the mail server took no recipient now") from error
            raise PermanentFailure("the mail server takes no recipient") from error
        except aiosmtplib.SMTPResponseException as error:
            kind = PermanentFailure if error.code >= 500 else TemporaryFailure
            raise kind(f"SMTP {error.code}") from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise TemporaryFailure(type(error).__name__) from error


class Command:
    """A program that takes the notification as JSON on standard input; status 0 means delivered."""

    def __init__(self, form: CommandForm) -> None:
        self._argv = form.argv
        self._timeout_seconds = parse_duration(form.timeout).total_seconds()

    async def send(self, notification: Notification, subject: str, text: str) -> None:
        content = json.dumps({**notification.as_json(), "subject": subject, "text": text}, ensure_ascii=False).encode()
        # What reaches the servers is none of its business.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PLANGATE_")}
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                env={**environment, "PLANGATE_NOTIFICATION_ID": notification.id},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as error:
            raise TemporaryFailure(f"the command cannot be run: {error.strerror}") from error
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await process.communicate(content)
        except TimeoutError as error:
            raise TemporaryFailure("the command took too long") from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                await process.wait()
        if process.returncode:
            raise TemporaryFailure(f"the command ended with status {process.returncode}")


def _line(path: str | None) -> str:
    assert path is not None
    return Path(path).read_text(encoding="utf-8").strip()
