"""`python -m bench.plan_quality`: how good are the plans of the embedded model.

Cases are lines of JSON: `{"id", "category", "prompt", "actions", "expected"}` in the manner of the Berkeley Function
Calling Leaderboard, where `expected` is a list of `{"action_name", "args"}` with all accepted values of each argument,
empty where no action fits. `--catalogue` gives the actions of cases that name none. `--scorer` is a Python file with
`score_plan(jobs, case) -> (valid, actions right, arguments right)`; without it only exact answers count.

    python -m bench.plan_quality                                       our own operations prompts
    python -m bench.plan_quality --cases FILE --scorer FILE            cases and a scorer of your own
    python -m bench.plan_quality --cases FILE --half 1 --take 30       every second case, the first thirty of them
    python -m bench.plan_quality --cases FILE --ask-for-ties           asked, as hosted models are, what needs what
    python -m bench.plan_quality --record FILE                         keep the model's replies
    python -m bench.plan_quality --replay FILE --corrections none      read the same replies without corrections
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from bench.report import table
from plangate_core.catalogue.catalogue import parse_catalogue
from planner_service.generation import run
from planner_service.generation.embedded.correction.profile import QWEN_CODER_PROFILE
from planner_service.generation.embedded.engine import EmbeddedEngine
from planner_service.generation.embedded.settings import EmbeddedSettings
from planner_service.generation.embedded.weights import find_weights
from planner_service.generation.errors import GenerationFailed
from planner_service.generation.instructor_client import GenerationRequest, InstructorClient
from planner_service.generation.prompt.prompts import TEMPLATE_VERSION, build_messages
from planner_service.generation.providers.provider_table import EMBEDDED
from planner_service.generation.providers.providers import ModelClients
from planner_service.generation.reply.draft import reply_form
from planner_service.generation.settings import GenerationSettings
from planner_service.plan import Job
from planner_service.planning.checking.checks import check_jobs, jobs_of_draft

_DATA = Path(__file__).parent / "data"
Jobs = list[dict[str, Any]]
Scorer = Callable[[Jobs, dict[str, Any]], tuple[bool, bool, bool]]


@dataclass(frozen=True)
class Outcome:
    """What became of one case."""

    id: str
    category: str
    refusal_wanted: bool
    valid: bool
    actions_right: bool
    args_right: bool
    attempts: int
    seconds: float
    input_tokens: int
    output_tokens: int
    jobs: Jobs
    failure: str = ""
    ties_right: bool | None = None
    """Whether each job needs those that it should; None where the case does not say, or the actions are wrong."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the cases, one after the other, and print what was right."""
    parser = argparse.ArgumentParser(prog="bench.plan_quality", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", type=Path, default=_DATA / "ops_cases.jsonl")
    parser.add_argument("--catalogue", type=Path, default=_DATA / "ops_catalogue.yaml")
    parser.add_argument("--scorer", type=Path)
    parser.add_argument("--half", type=int, choices=(0, 1), help="only even (0) or odd (1) cases")
    parser.add_argument("--take", type=int, help="only so many cases, spread over the file")
    parser.add_argument("--attempts", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write one line of JSON for each case")
    parser.add_argument("--record", type=Path, help="write the model's replies there")
    parser.add_argument("--replay", type=Path, help="take the replies from such a file, without a model")
    parser.add_argument(
        "--ask-for-ties", action="store_true", help="ask the embedded model, too, which job needs which"
    )
    parser.add_argument("--corrections", choices=("all", "none"), default="all")
    arguments = parser.parse_args(argv)
    cases = [json.loads(line) for line in arguments.cases.read_text(encoding="utf-8").splitlines() if line.strip()]
    if arguments.half is not None:
        cases = cases[arguments.half :: 2]
    if arguments.take and arguments.take < len(cases):
        cases = [cases[index * len(cases) // arguments.take] for index in range(arguments.take)]
    actions = yaml.safe_load(arguments.catalogue.read_text(encoding="utf-8"))["actions"]
    for case in cases:
        case.setdefault("actions", actions)
    scorer = _load_scorer(arguments.scorer) if arguments.scorer else exact
    # A busy machine is slow: what is measured here is quality, so no call is cut off.
    settings = GenerationSettings(
        attempt_timeout_seconds=600, record_file=arguments.record, replay_file=arguments.replay
    )
    corrected = arguments.corrections == "all"
    with _asked_for_ties() if arguments.ask_for_ties else contextlib.nullcontext():
        outcomes = asyncio.run(_run(cases, scorer, arguments.attempts, settings, corrected=corrected))
    if arguments.out:
        arguments.out.write_text("".join(json.dumps(asdict(outcome)) + "\n" for outcome in outcomes), encoding="utf-8")
    print(_table(outcomes))


@contextlib.contextmanager
def _asked_for_ties() -> Iterator[None]:
    """The embedded model's prompt and grammar are those of hosted models."""

    def messages(*arguments: Any, **_: Any) -> Any:
        return build_messages(*arguments, asks_for_ties=True)

    def form(*arguments: Any, **_: Any) -> Any:
        return reply_form(*arguments, asks_for_ties=True)

    with patch.object(run, "build_messages", messages), patch.object(run, "reply_form", form):
        yield


async def _run(
    cases: Sequence[dict[str, Any]], scorer: Scorer, attempts: int, settings: GenerationSettings, *, corrected: bool
) -> list[Outcome]:
    engine = None if settings.replay_file else await _start_engine()
    profile = QWEN_CODER_PROFILE if engine is None else engine.review_profile
    clients = ModelClients(settings, engine.endpoint if engine else None)
    instructor_client = InstructorClient(clients, settings, review_profile=profile if corrected else None)
    outcomes = []
    try:
        for number, case in enumerate(cases, 1):
            outcome = await _plan(instructor_client, case, scorer, attempts)
            outcomes.append(outcome)
            marks = "".join(
                "+" if right else "-" for right in (outcome.valid, outcome.actions_right, outcome.args_right)
            )
            print(f"{number}/{len(cases)} {marks} {outcome.seconds:5.1f} s  {case['id']}", file=sys.stderr, flush=True)
    finally:
        await instructor_client.aclose()
        if engine is not None:
            await engine.close()
    return outcomes


async def _start_engine() -> EmbeddedEngine:
    settings = EmbeddedSettings()
    return await EmbeddedEngine.start(find_weights(settings), settings)


async def _plan(instructor_client: InstructorClient, case: dict[str, Any], scorer: Scorer, attempts: int) -> Outcome:
    catalogue = parse_catalogue(
        yaml.safe_dump({"version": 1, "actions": list(case["actions"])}, allow_unicode=True, sort_keys=False)
    )
    begun = time.monotonic()
    jobs: Jobs = []
    failure = ""
    ties_right = None
    try:
        result = await instructor_client.generate_plan(
            GenerationRequest(
                prompt=case["prompt"],
                context={},
                catalogue=catalogue,
                model=EMBEDDED,
                max_attempts=attempts,
                check=lambda draft: check_jobs(jobs_of_draft(draft), catalogue)[1],
            )
        )
        report = result.report
        complete, _ = check_jobs(jobs_of_draft(result.draft), catalogue)
        jobs = [{"action_name": job.action_name, "action_args": dict(job.action_args)} for job in complete]
        valid, actions_right, args_right = scorer(jobs, case)
        if actions_right and "needs" in case:
            ties_right = _ties(complete, case) == sorted(map(tuple, case["needs"]))
    except GenerationFailed as failed:
        assert failed.report  # noqa: PT017 not a test
        report, failure = failed.report, failed.message
        valid = actions_right = args_right = False
    return Outcome(
        id=case["id"],
        category=case["category"],
        refusal_wanted=not case["expected"],
        valid=valid,
        actions_right=actions_right,
        args_right=args_right,
        attempts=len(report.attempts),
        seconds=time.monotonic() - begun,
        input_tokens=sum(attempt.input_tokens for attempt in report.attempts),
        output_tokens=sum(attempt.output_tokens for attempt in report.attempts),
        jobs=jobs,
        failure=failure,
        ties_right=ties_right,
    )


def exact(jobs: Jobs, case: dict[str, Any]) -> tuple[bool, bool, bool]:
    """The scorer that needs no file: values as accepted, in any order of jobs; `""` means "may be left out"."""
    wanted = list(case["expected"])
    names = sorted(job["action_name"] for job in jobs) == sorted(want["action_name"] for want in wanted)
    for job in jobs:
        fitting = next((want for want in wanted if _fits(job, want)), None)
        if fitting is None:
            return True, names, False
        wanted.remove(fitting)
    return True, names, not wanted


def _ties(jobs: Sequence[Job], case: dict[str, Any]) -> list[tuple[int, int]]:
    """Which job needs which, as positions in what the case expects; jobs with one action are taken in their order."""
    left = [want["action_name"] for want in case["expected"]]
    place: dict[str, int] = {}
    for job in jobs:
        place[job.id] = left.index(job.action_name)
        left[place[job.id]] = ""
    return sorted((place[job.id], place[needed]) for job in jobs for needed in job.depends_on)


def _fits(job: dict[str, Any], want: dict[str, Any]) -> bool:
    args: dict[str, Any] = job["action_args"]
    return (
        job["action_name"] == want["action_name"]
        and args.keys() <= want["args"].keys()
        and all(args.get(name, "") in accepted for name, accepted in want["args"].items())
    )


def _load_scorer(path: Path) -> Scorer:
    spec = importlib.util.spec_from_file_location("scorer", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scorer: Scorer = module.score_plan
    return scorer


def _table(outcomes: Sequence[Outcome]) -> str:
    categories = list(dict.fromkeys(outcome.category for outcome in outcomes))
    groups = {name: [one for one in outcomes if one.category == name] for name in categories}
    groups["refusals wanted"] = [one for one in outcomes if one.refusal_wanted]
    groups["jobs wanted"] = [one for one in outcomes if not one.refusal_wanted]
    groups["all"] = list(outcomes)
    lines = [
        f"{len(outcomes)} cases, template {TEMPLATE_VERSION}, {platform.processor() or platform.machine()}",
        *table(
            "cases | n | valid | valid at once | right actions | right arguments | seconds, median | seconds, 9 of 10",
            [[name, str(len(those)), *_cells(those)] for name, those in groups.items()],
        ),
    ]
    for name in categories if any(outcome.ties_right is not None for outcome in outcomes) else ():
        ties = [one.ties_right for one in groups[name] if one.ties_right is not None]
        lines.append(f"ties right, {name}: {sum(ties)} of {len(ties)} plans with the right actions")
    return "\n".join(lines)


def _cells(outcomes: Sequence[Outcome]) -> list[str]:
    if not outcomes:
        return [""] * 6
    seconds = sorted(outcome.seconds for outcome in outcomes)
    counts = (
        sum(one.valid for one in outcomes),
        sum(one.valid and one.attempts == 1 for one in outcomes),
        sum(one.actions_right for one in outcomes),
        sum(one.args_right for one in outcomes),
    )
    return [
        *(f"{count / len(outcomes):.0%}" for count in counts),
        f"{seconds[len(seconds) // 2]:.1f}",
        f"{seconds[math.ceil(len(seconds) * 0.9) - 1]:.1f}",
    ]


if __name__ == "__main__":
    main()
