"""The notify file: what it may say, and where it is wrong. And how far receivers have come."""

from __future__ import annotations

from pathlib import Path

import pytest

from plangate_inbox.notifications.notify_file import NotifyFileInvalid, load_notify_file
from plangate_inbox.notifications.position import NotificationsRefused, Position, locked

WHOLE = """
version: 1
before_expiry: 2h
smtp: {host: mail.example.org, sender: plangate@example.org}
people: {ria: ria@example.org}
receivers:
  - name: finance
    events: [waiting, revised, expiring]
    role: finance
    webhook: {url: "https://hooks.example.org/x", body: slack}
  - name: requesters
    events: [ended]
    email: {to: requester}
"""


def test_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "notify.yaml"
    file.write_text(WHOLE)
    form = load_notify_file(file)
    assert [receiver.name for receiver in form.receivers] == ["finance", "requesters"]
    assert (form.before_expiry_seconds, form.give_up_seconds) == (7200, 3 * 86_400)
    assert form.receivers[1].email is not None
    assert form.receivers[1].email.to == ["requester"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("version: 1", "version: 2", ":2:10: version"),
        ("body: slack", "body: irc", "body"),
        ("role: finance", "rolle: finance", "rolle: there is no such field"),
        ("smtp: {host: mail.example.org, sender: plangate@example.org}", "", "e-mail needs smtp"),
        ("name: requesters", "name: finance", "given twice"),
        ("    email: {to: requester}\n", "", "give one of webhook, email and command"),
        ("events: [ended]", "events: [ended]\n    text: '{{ oh'", "the template cannot be read"),
        ('url: "https://hooks.example.org/x", ', "", "give one of url and url_file"),
        ("before_expiry: 2h", "before_expiry: soon", "a duration is a whole number"),
    ],
)
def test_faults_are_named_with_their_places(tmp_path: Path, old: str, new: str, fault: str) -> None:
    file = tmp_path / "notify.yaml"
    assert old in WHOLE
    file.write_text(WHOLE.replace(old, new))
    with pytest.raises(NotifyFileInvalid) as caught:
        load_notify_file(file)
    assert fault in "\n".join(caught.value.lines())
    assert str(file) in str(caught.value)


def test_a_position_survives_and_only_grows(tmp_path: Path) -> None:
    file = tmp_path / "room.json"
    position = Position(file)
    assert position.revision is None
    position.advance(7)
    position.advance(3)
    position.advance(9, durably=False)
    position.remind("a", expires="2026-11-30", now="2026-11-29")
    position.remind("b", expires="2026-12-02", now="2026-12-01")
    again = Position(file)
    assert (again.revision, again.reminded) == (9, {"b": "2026-12-02"})
    assert file.stat().st_mode & 0o077 == 0


def test_positions_belong_to_one_process_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(NotificationsRefused, match="another process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_the_documented_file_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "how-to" / "notifications.md").read_text(encoding="utf-8")
    file = tmp_path / "notify.yaml"
    file.write_text(page.partition("```yaml\n")[2].partition("```")[0])
    assert len(load_notify_file(file).receivers) == 5
