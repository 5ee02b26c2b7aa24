"""`python -m planner_service replay RECORDING`: see docs/how-to/models.md."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from plangate_core.process.standard_output import written
from plangate_core.text.printable import visible
from plangate_core.text.truncation import truncate
from planner_service.generation.errors import ProviderNotUsable
from planner_service.generation.providers.recording import RecordingInvalid
from planner_service.governance.files import GovernanceFiles, GovernanceRefused, read_governance
from planner_service.replay.replay import Difference, RecordedRun, Replayed
from planner_service.settings import PlannerSettings

_TEXT_CHARACTERS = 160
_DIGEST_CHARACTERS = 12

SAME, DIFFERENT, UNUSABLE = 0, 1, 2

_EPILOG = (
    "Exit status: 0 every plan is as it was recorded, 1 something differs, 2 the recording, the catalogue or the "
    "policy cannot be used."
)


def run(arguments: Sequence[str], settings: PlannerSettings) -> int:
    """Replay a recording and say what differs. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="plangate replay",
        description="Make the plans of a recorded run again, without a model, and compare them.",
        epilog=_EPILOG,
    )
    parser.add_argument("recording", type=Path, help="a file that PLANGATE_MODEL_RECORD_FILE named")
    parser.add_argument("--catalogue", type=Path, metavar="FILE", help="PLANGATE_CATALOGUE_FILE")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="PLANGATE_POLICY_FILE")
    parser.add_argument("--json", action="store_true", dest="as_json", help="one object, for programs")
    chosen = parser.parse_args(arguments)
    try:
        recorded = RecordedRun(chosen.recording)
        governance = read_governance(chosen.catalogue or settings.catalogue_file, chosen.policy or settings.policy_file)
        replayed = asyncio.run(_replay(recorded, governance))
    except (RecordingInvalid, GovernanceRefused, ProviderNotUsable) as error:
        print(f"plangate replay: {visible(str(error))}", file=sys.stderr)
        return UNUSABLE
    with written("the answer"):
        if chosen.as_json:
            json.dump(_document(chosen.recording, replayed, governance), sys.stdout, indent=2)
            print()
        else:
            _print(replayed, governance)
    return DIFFERENT if any(each.differences for each in replayed) else SAME


async def _replay(recorded: RecordedRun, governance: GovernanceFiles) -> list[Replayed]:
    return [replayed async for replayed in recorded.replay(governance)]


def _digest_notes(replayed: Sequence[Replayed], governance: GovernanceFiles) -> list[str]:
    """Notes on files that are not those of the recording, each once."""
    current = governance.current
    notes = []
    for kind, of_file, recorded in (
        ("catalogue", current.catalogue.digest, [each.record.catalogue_digest for each in replayed]),
        ("policy", current.policy.digest, [each.record.policy_digest for each in replayed]),
    ):
        for digest in dict.fromkeys(recorded):
            if digest != of_file:
                notes.append(
                    f"{recorded.count(digest)} of {len(recorded)} plans were recorded under the {kind} "
                    f"{digest[:_DIGEST_CHARACTERS]}, this one is {of_file[:_DIGEST_CHARACTERS]}"
                )
    return notes


def _print(replayed: Sequence[Replayed], governance: GovernanceFiles) -> None:
    for note in _digest_notes(replayed, governance):
        print(f"note: {note}")
    for number, each in enumerate(replayed, 1):
        record = each.record
        attempts = f"{each.attempts} attempt{'' if each.attempts == 1 else 's'}"
        print(f"{number}  {_shown(record.prompt)}")
        print(f"   {visible(record.requester)}, {record.time.isoformat()}, {visible(record.models[0])}, {attempts}")
        for job in (each.plan or {}).get("jobs", ()):
            decision = job["decision"]
            print(f"   {job['id']}  {visible(job['action_name'])} {_shown(job['action_args'])}")
            print(f"      {decision['effect']}  {visible(decision['rule'])}: {visible(decision['reason'])}")
        if each.plan is not None and not each.plan["jobs"]:
            print(f"   no action: {visible(each.plan['no_action_reason'])}")
        if each.failure is not None:
            print(f"   failed: {each.failure.reason}: {visible(each.failure.message)}")
        for note in each.notes:
            print(f"   note: {note}")
        for difference in each.differences:
            print(
                f"   DIFFERS {_place(difference)}: {_shown(difference.old)} was recorded, now {_shown(difference.new)}"
            )
    different = sum(1 for each in replayed if each.differences)
    print(f"{len(replayed)} plans, {len(replayed) - different} as recorded, {different} different")


def _place(difference: Difference) -> str:
    return visible(" ".join(part for part in (difference.job, difference.path) if part))


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return truncate(visible(text), _TEXT_CHARACTERS)


def _document(recording: Path, replayed: Sequence[Replayed], governance: GovernanceFiles) -> dict[str, Any]:
    current = governance.current
    return {
        "recording": str(recording),
        "catalogue_digest": current.catalogue.digest,
        "policy_digest": current.policy.digest,
        "notes": _digest_notes(replayed, governance),
        "plans": [
            {
                "prompt": each.record.prompt,
                "requester": each.record.requester,
                "time": each.record.time.isoformat(),
                "models": list(each.record.models),
                "recorded_catalogue_digest": each.record.catalogue_digest,
                "recorded_policy_digest": each.record.policy_digest,
                "attempts": each.attempts,
                "plan": each.plan,
                "failure": None if each.failure is None else each.failure.model_dump(),
                "notes": list(each.notes),
                "differences": [asdict(found) for found in each.differences],
            }
            for each in replayed
        ],
        "different": sum(1 for each in replayed if each.differences),
    }
