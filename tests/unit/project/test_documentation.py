"""Every link between pages leads somewhere, also to a heading; every reason of the contract is explained;
the files shown can be read; the pages for users stay short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from plangate.errors.v1.error_reason_pb2 import ErrorReason

from plangate_core.catalogue.catalogue import parse_catalogue
from planner_service.governance.policy_file import parse_policy
from tests.support.documentation import PAGES as USER_PAGES

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/**/*.md"))
FENCES = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    text = FENCES.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCES.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in headings(file)):
            broken.append(target)
    assert broken == []


def test_every_reason_is_explained() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    reasons = [
        name.removeprefix("ERROR_REASON_")
        for name in ErrorReason.DESCRIPTOR.values_by_name
        if not name.endswith("_UNSPECIFIED")
    ]
    assert [reason for reason in reasons if f"`{reason}`" not in page] == []


def test_the_pages_for_users_are_read_in_an_hour() -> None:
    """Outside of blocks of code."""
    texts = [FENCES.sub("", page.read_text(encoding="utf-8")) for page in USER_PAGES]
    assert sum(len(re.findall(r"\S*\w\S*", text)) for text in texts) <= 15_000


def yaml_blocks(*pages: str) -> list[str]:
    texts = [(ROOT / "docs" / page).read_text(encoding="utf-8") for page in pages]
    return [block for text in texts for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def test_policies_and_catalogues_that_are_shown_can_be_read() -> None:
    blocks = yaml_blocks("reference/policy.md", "reference/catalogue.md", "how-to/teams.md")
    policies = [block for block in blocks if "rules:" in block]
    # A single rule is shown without its file.
    policies += [f"version: 1\nrules:\n{block}" for block in blocks if "when:" in block and "rules:" not in block]
    catalogues = [block for block in blocks if "\nactions:" in block]
    assert (len(policies), len(catalogues)) >= (4, 1)
    for text in policies:
        parse_policy(text)
    for text in catalogues:
        parse_catalogue(text)
