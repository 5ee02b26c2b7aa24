"""How a receiver is reached: a webhook, e-mail, a command. One attempt each; repeating is delivery's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import TypeAlias

import aiohttp
import aiosmtplib

from plangate_core.catalogue.duration_text import parse_duration
from plangate_inbox.notifications.bodies import body_of, signature
from plangate_inbox.notifications.notification import Notification
from plangate_inbox.notifications.notify_file import NotifyForm, ReceiverForm, SmtpForm

_TIMEOUT_SECONDS = 15.0
# Answers that another attempt may change.
_TEMPORARY = frozenset({408, 425, 429, *range(500, 600)})


class TemporaryFailure(Exception):
    """It was not delivered now; another attempt may do better."""


class PermanentFailure(Exception):
    """It will not be delivered, however often it is tried."""


Channel: TypeAlias = Callable[[Notification, str, str], Awaitable[None]]
"""Delivers a notification with this subject and text once: returns when the receiver has taken it. Raises
TemporaryFailure, PermanentFailure."""


def channel_of(receiver: ReceiverForm, form: NotifyForm, http: aiohttp.ClientSession) -> Channel:
    """The receiver's channel. Raises OSError when one of its files cannot be read."""
    if (webhook := receiver.webhook) is not None:
        url = webhook.url or _line(webhook.url_file)
        secret = _line(webhook.secret_file).encode() if webhook.secret_file else None
        return partial(_post, http, url, webhook.body, secret)
    if receiver.email is not None:
        assert form.smtp is not None
        password = _line(form.smtp.password_file) if form.smtp.password_file else None
        return partial(_mail, form.smtp, password, form.people, receiver.email.to)
    assert receiver.command is not None
    return partial(_run, receiver.command.argv, parse_duration(receiver.command.timeout).total_seconds())


async def _post(
    http: aiohttp.ClientSession,
    url: str,
    form: str,
    secret: bytes | None,
    notification: Notification,
    subject: str,
    text: str,
) -> None:
    """An HTTP POST with the notification's id, signed when there is a secret. Redirects are not followed."""
    body = json.dumps(body_of(form, notification, subject, text), ensure_ascii=False).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "plangate",
        "Plangate-Notification-Id": notification.id,
    }
    if secret is not None:
        headers["Plangate-Signature"] = signature(secret, int(time.time()), body)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    try:
        async with http.post(url, data=body, headers=headers, timeout=timeout, allow_redirects=False) as answer:
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # The URL may hold a secret: the message names the kind of error only.
        raise TemporaryFailure(type(error).__name__) from error
    if status in _TEMPORARY:
        raise TemporaryFailure(f"HTTP {status}")
    if status >= 300:
        raise PermanentFailure(f"HTTP {status}")


async def _mail(
    smtp: SmtpForm,
    password: str | None,
    people: Mapping[str, str],
    to: Sequence[str],
    notification: Notification,
    subject: str,
    text: str,
) -> None:
    """One message to all addresses."""
    addresses = [people.get(notification.requester) if address == "requester" else address for address in to]
    known = [address for address in addresses if address]
    if not known:
        raise PermanentFailure(f"no address is known of {notification.requester}")
    message = EmailMessage()
    message["From"] = smtp.sender
    message["To"] = ", ".join(dict.fromkeys(known))
    message["Subject"] = subject
    message["Message-ID"] = f"<{notification.id}@{smtp.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    try:
        await aiosmtplib.send(
            message,
            hostname=smtp.host,
            port=smtp.port,
            username=smtp.username,
            password=password,
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


async def _run(
    argv: Sequence[str], timeout_seconds: float, notification: Notification, subject: str, text: str
) -> None:
    """A program that takes the notification as JSON on standard input; status 0 means delivered."""
    content = json.dumps(body_of("plangate", notification, subject, text), ensure_ascii=False).encode()
    # What reaches the servers is none of its business.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLANGATE_")}
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={**environment, "PLANGATE_NOTIFICATION_ID": notification.id},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            process_group=0,
        )
    except OSError as error:
        raise TemporaryFailure(f"the command cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_seconds):
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
