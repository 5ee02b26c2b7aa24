"""Words and stems of texts in several scripts, and of names in several styles."""

from __future__ import annotations

import pytest

from planner_service.wording.words import stems, words


@pytest.mark.parametrize(
    "name", ["restartService", "restart_service", "restart service", "RestartService", "RESTART-service"]
)
def test_the_style_of_a_name_does_not_matter(name: str) -> None:
    assert words(name) == ["restart", "service"]


def test_abbreviations_and_numbers_are_words_of_their_own() -> None:
    assert words("openHTTPPort443 v2") == ["open", "http", "port", "443", "v", "2"]


def test_stems_have_no_endings_and_no_short_words() -> None:
    assert stems("Restarting the DB of RestartService") == ["resta", "the", "resta", "servi"]
    assert stems("Größe prüfen") == ["gröss", "prüfe"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("octo/helloに起動時", ["octo", "hello", "に起", "起動", "動時"]),
        ("重启服务", ["重启", "启服", "服务"]),
        ("を", ["を"]),
        ("أنشئ مشكلة", ["أنشئ", "مشكلة"]),
        ("перезапустить", ["перез"]),
    ],
)
def test_scripts_without_blanks_are_compared_by_pairs_of_characters(text: str, found: list[str]) -> None:
    assert stems(text) == found
