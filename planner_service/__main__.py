"""`python -m planner_service` serves. Also `... check`: try the files; `... model pull|status`: the embedded model;
`... policy test`: test the policy; `... replay`: make recorded plans again.

Exit status: 0 done; 1 refused or a problem found, each on one line of standard error; 2 wrong arguments or settings;
141 the reader of standard output is gone. `replay` has its own (replay/command.py).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Iterator, Sequence

from plangate_core.catalogue.catalogue import Catalogue
from plangate_core.process.environment import VariableMisspelt, check_variables
from plangate_core.process.settings import SettingsRefused, read_settings
from plangate_core.process.standard_output import READER_GONE_STATUS, OutputRefused, ReaderGone, written
from plangate_core.rpc.settings import ChannelSettings
from plangate_core.rpc.telemetry import configure_logging
from planner_service.governance.files import GovernanceRefused, read_governance
from planner_service.settings import PlannerSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status."""
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except ReaderGone:
        return READER_GONE_STATUS
    except OutputRefused as error:
        return _refused(str(error))


def _run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m planner_service", description="Plangate's planner.")
    verbs = parser.add_subparsers(dest="verb")
    verbs.add_parser("serve", help="take calls (the default); settings come from the environment")
    check = verbs.add_parser(
        "check", help="read catalogue, policy and tokens, list all that is wrong with them, and exit"
    )
    check.add_argument("--strict", action="store_true", help="fail on warnings too")
    for verb, what in (
        ("model", "fetch the embedded model (pull), or say whether it is there (status)"),
        ("replay", "make the plans of a recorded run again, without a model, and compare them"),
        ("policy", "test the policy: decide about the jobs of a file, and compare with what it expects"),
    ):
        # They have arguments of their own.
        verbs.add_parser(verb, help=what, add_help=False)
    parsed, others = parser.parse_known_args(arguments)
    if parsed.verb == "model":
        # Before the settings: fetching a model needs no catalogue, no store and no valid server settings.
        from planner_service.generation.embedded.command import run

        return run(others)
    if others and parsed.verb not in ("replay", "policy"):
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    try:
        settings = read_settings(PlannerSettings)
    except SettingsRefused as error:
        return _refused(str(error), status=2)
    configure_logging(settings)
    try:
        check_variables(PlannerSettings)
    except VariableMisspelt as error:
        return _refused(str(error), status=2)
    if parsed.verb == "policy":
        from planner_service.policy_command import run as run_policy

        return run_policy(others, settings)
    if parsed.verb == "replay":
        from planner_service.replay.command import run as replay

        return replay(others, settings)
    if parsed.verb == "check":
        return _check(settings, strict=parsed.strict)
    return asyncio.run(_serve(settings))


def _check(settings: PlannerSettings, *, strict: bool) -> int:
    """Lists every fault and warning of the files on standard error; what they hold on standard output."""
    try:
        governance = read_governance(
            settings.catalogue_file, settings.policy_file, known_roles=settings.known_roles
        ).current
    except GovernanceRefused as error:
        for fault in (*error.faults, *_token_findings(settings)[0]):
            _refused(fault)
        return 1
    faults, token_warnings = _token_findings(settings)
    if faults:
        return _refused(faults[0])
    warnings = (*governance.catalogue.warnings, *governance.policy.warnings, *token_warnings)
    for warning in warnings:
        _refused(warning if strict else f"warning: {warning}")
    if strict and warnings:
        return 1
    with written("the answer"):
        print(f"catalogue: {len(governance.catalogue.actions)} actions, digest {governance.catalogue.digest}")
        print(f"policy: {len(governance.policy.rules)} rules, digest {governance.policy.digest}")
        for line in _cuts(governance.catalogue, settings):
            print(line)
    return 0


def _token_findings(settings: PlannerSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is wrong with the tokens file, if the settings name one, and what is odd in it."""
    if settings.auth_tokens_file is None:
        return (), ()
    # Brings gRPC with it.
    from plangate_core.rpc.identity.tokens_file import TokensFileInvalid, read_tokens_file

    try:
        identities = read_tokens_file(settings.auth_tokens_file)
    except TokensFileInvalid as error:
        return (str(error),), ()
    return (), tuple(f"{settings.auth_tokens_file}: {warning}" for warning in identities.scope_warnings())


def _cuts(catalogue: Catalogue, settings: PlannerSettings) -> Iterator[str]:
    """One line for each model that is shown a part of the catalogue only."""
    from planner_service.generation.prompt.selection import catalogue_characters, catalogue_room, is_cut

    generation = settings.generation_settings(provider_keys={})
    for model in settings.models:
        room = catalogue_room(model, generation)
        if is_cut(catalogue, room):
            yield (
                f"model {model}: the actions have {catalogue_characters(catalogue):,} characters; "
                f"it is shown {room.cut_characters:,} of them for each request, those that fit it best "
                "(PLANGATE_MODEL_CATALOGUE_CHARACTERS)"
            )


async def _serve(settings: PlannerSettings) -> int:
    # The SDKs take two seconds to import: only a server needs them.
    from plangate_core.process.open_files import allow_many_open_files
    from plangate_core.rpc.identity.tokens_file import TokensFileInvalid
    from plangate_core.rpc.server import ServerRefused
    from plangate_core.rpc.telemetry import TelemetryRefused, configure_tracing, sending_metrics
    from planner_service.bootstrap import PlannerRefused, PlannerServer
    from planner_service.generation.embedded.settings import EmbeddedSettings

    try:
        configure_tracing(settings.otlp_endpoint, "plangate-planner")
        planner = PlannerServer(
            settings,
            channel_settings=read_settings(ChannelSettings),
            embedded_settings=read_settings(EmbeddedSettings),
        )
        allow_many_open_files()
        await planner.start()
    except SettingsRefused as error:
        return _refused(str(error), status=2)
    except (PlannerRefused, ServerRefused, TokensFileInvalid, TelemetryRefused) as error:
        return _refused(str(error))
    # What was made so far stays. Looking it all through again, as the collector would every few hundred plans, stalled
    # all plans in flight for up to 0.4 s and was a third of a plan's CPU.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, planner.reload)
    try:
        with written("the address"):
            print(f"plangate-planner listening on {planner.grpc.address}")
        with sending_metrics(settings, "plangate-planner", planner.grpc.metrics):
            await planner.grpc.run_until_signal()
    finally:
        await planner.close()
    return 0


def _refused(sentence: str, *, status: int = 1) -> int:
    print(f"plangate-planner: {sentence}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
