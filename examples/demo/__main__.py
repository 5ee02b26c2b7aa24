"""`python -m examples.demo [REQUEST]`; `make demo PROMPT="..."` does the same."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from examples.demo.arriving_model import ArrivingModel, ModelFailed
from examples.demo.recorded_model import recorded_model
from examples.demo.story import DEFAULT_REQUEST, Story, StoryFailed, head, read_line
from plangate_client.command.output.console import stderr, stdout
from plangate_client.servers.server_pair import ServerEnded

EPILOG = """\
Exit status: 0 when everything the plan called for happened and the log verifies, also when no action fits the request
and nothing was done; 1 when something did not happen; 130 after Ctrl-C. With the default request 0 means that a step
was allowed, one was approved, both were executed and changed the disk, and one was denied; with the embedded model
twice: with recorded words first, so that there is something to see at once, then with the model's own."""


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__, epilog=EPILOG)
    parser.add_argument("request", nargs="?", help="what is wanted, in plain words; default: PROMPT, else an example")
    parser.add_argument("--model", help="for example openai/gpt-4o; default: PLANGATE_MODEL, else the embedded one")
    parser.add_argument("--yes", action="store_true", help="approve without asking, also on a terminal")
    parser.add_argument("--keep", action="store_true", help="leave the directory with the sandbox and the database")
    arguments = parser.parse_args()
    environment = dict(os.environ)
    request = arguments.request or environment.pop("PROMPT", "").strip()
    model = arguments.model or environment.get("PLANGATE_MODEL") or "embedded"
    try:
        with _directory(keep=arguments.keep) as directory:
            may_ask = sys.stdin.isatty() and sys.stdout.isatty() and not arguments.yes
            return asyncio.run(_run(directory, environment, request=request, model=model, may_ask=may_ask))
    except (KeyboardInterrupt, asyncio.CancelledError):
        stderr().print("\nstopped")
        return 130
    except ServerEnded as error:
        for line in error.log:
            stderr().print(f"{error.name}: {line}", soft_wrap=True)
        stderr().print(f"plangate: {error}", style="red")
        return 1
    except (StoryFailed, ModelFailed) as error:
        stderr().print(f"plangate: {error}", style="red", soft_wrap=True)
        return 1


async def _run(directory: Path, environment: Mapping[str, str], *, request: str, model: str, may_ask: bool) -> int:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    # SIGINT is asyncio's own business; these too must end every process that was started.
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    if model != "embedded":
        return await _story(directory, environment, model, request or DEFAULT_REQUEST, may_ask).tell()
    async with ArrivingModel(environment) as arriving:
        if not arriving.is_here:
            await arriving.begin()
        if not arriving.is_here or not request:
            await _tell_recorded(directory / "recorded", environment, arriving, may_ask=may_ask)
            if not request and may_ask:
                stdout().print("\nNow your own words, on the real model. What should be done on this little server?")
                request = await read_line("[Enter: the same request] ")
        await _until_here(arriving)
        head("For real: your words, the embedded model" if request else "The same for real: the embedded model")
        return await _story(directory / "real", environment, model, request or DEFAULT_REQUEST, may_ask).tell()


async def _tell_recorded(
    directory: Path, environment: Mapping[str, str], arriving: ArrivingModel, *, may_ask: bool
) -> None:
    """The demo's own request with a recorded reply: everything but the model's words happens now."""
    state = "is loaded afterwards" if arriving.is_here else f"arrives in the background, {arriving.progress}"
    stdout().print(
        "Recorded: what the model says in this first act was said by the embedded model before. All else is real: the "
        f"servers, the policy, your answers, the executor, the disk, the log. The model itself {state}.",
        style="bold",
        soft_wrap=True,
    )
    async with recorded_model() as base_url:
        recorded = {**environment, "PLANGATE_MODEL_BASE_URL": base_url, "PLANGATE_MODEL_API_KEY": "recorded"}
        recorded.pop("PLANGATE_FALLBACK_MODELS", None)
        await _story(directory, recorded, "openai/recorded", DEFAULT_REQUEST, may_ask).tell()


async def _until_here(arriving: ArrivingModel) -> None:
    """Wait for the weights, saying how far they are. Raises ModelFailed."""
    console = stderr()
    with console.status("") as status:
        said = ""
        while not await arriving.wait(1.0 if console.is_terminal else 10.0):
            text = f"the embedded model arrives: {arriving.progress}"
            status.update(text)
            if not console.is_terminal and text != said:
                console.print(text)
                said = text


def _story(directory: Path, environment: Mapping[str, str], model: str, request: str, may_ask: bool) -> Story:
    directory.mkdir(exist_ok=True)
    return Story(directory, _server_environment(environment, directory, model), request=request, may_ask=may_ask)


def _server_environment(environment: Mapping[str, str], directory: Path, model: str) -> dict[str, str]:
    """What the servers see: the demo's files, and of the caller's settings only those of the model."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith("PLANGATE_") or name.startswith(("PLANGATE_MODEL", "PLANGATE_FALLBACK_MODELS"))
    }
    here = Path(__file__).resolve().parent
    return kept | {
        "PLANGATE_STORE_LISTEN": "127.0.0.1:0",
        "PLANGATE_PLANNER_LISTEN": "127.0.0.1:0",
        "PLANGATE_DATABASE_URL": f"sqlite:///{directory / 'plangate.db'}",
        "PLANGATE_CATALOGUE_FILE": str(here / "catalogue.yaml"),
        "PLANGATE_POLICY_FILE": str(here / "policy.yaml"),
        "PLANGATE_MODEL": model,
        "PLANGATE_DRAIN_SECONDS": "3",
    }


@contextmanager
def _directory(*, keep: bool) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="plangate-demo-")).resolve()
    try:
        yield directory
    finally:
        if keep:
            stdout().print(f"left in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
