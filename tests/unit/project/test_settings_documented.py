"""docs/settings.md has every setting, and no setting that is not there, with the default it really has."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from plangate_client.settings import ClientSettings
from plangate_core.process.environment import SETTINGS
from plangate_inbox.settings import InboxSettings
from planner_service.generation.embedded.settings import EmbeddedSettings
from planner_service.settings import PlannerSettings
from store_service.settings import StoreSettings

TABLE = Path(__file__).parents[3] / "docs" / "settings.md"
CLASSES: tuple[type[BaseSettings], ...] = (
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


def variables(settings: type[BaseSettings]) -> dict[str, object]:
    prefix = str(settings.model_config["env_prefix"])
    return {f"{prefix}{name}".upper(): field for name, field in settings.model_fields.items()}


def test_no_setting_is_missing_or_invented() -> None:
    known = {name for settings in CLASSES for name in variables(settings)}
    assert set(documented()) == known
    assert {f"PLANGATE_{name}" for name in SETTINGS} == known


@pytest.mark.parametrize("settings", CLASSES)
def test_defaults_are_as_documented(settings: type[BaseSettings]) -> None:
    rows = documented()
    prefix = str(settings.model_config["env_prefix"])
    for name, field in settings.model_fields.items():
        if field.default_factory is not None:
            continue
        default = field.default.value if isinstance(field.default, Enum) else field.default
        text = "" if default in (None, (), "") else str(default).lower() if isinstance(default, bool) else str(default)
        assert text in rows[f"{prefix}{name}".upper()], name
