"""What webhooks post: our own JSON, Slack's and Teams' forms. Foreign text is plain text in each of them."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from plangate_inbox.notifications.notification import Notification

_SLACK_CHARACTERS = 2_900


def body_of(form: str, notification: Notification, subject: str, text: str) -> dict[str, Any]:
    """The JSON to post. `form` is plangate, slack or teams."""
    if form == "slack":
        return _slack(notification, subject, text)
    if form == "teams":
        return _teams(notification, subject, text)
    return {**notification.as_json(), "subject": subject, "text": text}


def signature(secret: bytes, timestamp: int, body: bytes) -> str:
    """The header Plangate-Signature: HMAC-SHA256 over "TIMESTAMP.BODY": an old one cannot be sent again later."""
    digest = hmac.new(secret, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def _slack(notification: Notification, subject: str, text: str) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [
        # plain_text: in mrkdwn a requester's text could mention people or hide where a link leads.
        {"type": "section", "text": {"type": "plain_text", "text": text[:_SLACK_CHARACTERS], "emoji": False}},
    ]
    if notification.link:
        button = {"type": "button", "text": {"type": "plain_text", "text": "Open"}, "url": notification.link}
        blocks.append({"type": "actions", "elements": [button]})
    escaped = subject.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": escaped, "blocks": blocks}


def _teams(notification: Notification, subject: str, text: str) -> dict[str, Any]:
    def plain(words: str, **style: Any) -> dict[str, Any]:
        # A TextBlock would read Markdown, links in it too; a TextRun does not.
        return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": words, **style}]}

    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [plain(subject, weight="Bolder", size="Medium"), *(plain(line) for line in text.splitlines() if line)],
    }
    if notification.link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open", "url": notification.link}]
    content = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "attachments": [content]}
