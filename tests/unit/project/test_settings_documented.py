"""docs/reference/settings.md has every setting, and no setting that is not there, with the default it really has."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

import pytest

from plangate_client.settings import ClientSettings
from plangate_core.process.environment import known_variables
from plangate_core.process.settings import PlangateSettings
from plangate_inbox.settings import InboxSettings
from planner_service.generation.embedded.settings import EmbeddedSettings
from planner_service.settings import PlannerSettings
from store_service.settings import StoreSettings

TABLE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"
CLASSES: tuple[type[PlangateSettings], ...] = (
    StoreSettings,
    PlannerSettings,
    EmbeddedSettings,
    ClientSettings,
    InboxSettings,
)
ROW = re.compile(r"\| `(PLANGATE_\w+)` \| (.*?) ?\| (.+?) \|")


def documented() -> dict[str, set[str]]:
    rows: dict[str, set[str]] = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if match := ROW.fullmatch(line):
            rows.setdefault(match[1], set()).add(match[2].strip().strip("`"))
    return rows


def test_no_setting_is_missing_or_invented() -> None:
    known = {name for settings in CLASSES for name in settings.variables()}
    assert set(documented()) == known
    assert known_variables() == known


@pytest.mark.parametrize("settings", CLASSES)
def test_defaults_are_as_documented(settings: type[PlangateSettings]) -> None:
    rows = documented()
    for name, field in settings.variables().items():
        if field.default_factory is not None:
            continue
        default = field.default.value if isinstance(field.default, Enum) else field.default
        text = "" if default in (None, (), "") else str(default).lower() if isinstance(default, bool) else str(default)
        assert text in rows[name], name


def test_what_is_fixed_is_not_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANGATE_SWEEP_SECONDS", "7")
    assert StoreSettings().sweep_seconds == 1.0
    assert StoreSettings(sweep_seconds=7.0).sweep_seconds == 7.0
