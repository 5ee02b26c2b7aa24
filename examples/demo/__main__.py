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

from examples.demo.story import DEFAULT_REQUEST, Story, StoryFailed
from plangate_client.command.output.console import answers, remarks
from plangate_client.servers.server_pair import ServerEnded

EPILOG = """\
Exit status: 0 when everything the plan called for happened and the log verifies, also when no action fits the request
and nothing was done; 1 when something did not happen; 130 after Ctrl-C. With the default request 0 means that a step
was allowed, one was approved, both were executed and changed the disk, and one was denied."""


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__, epilog=EPILOG)
    parser.add_argument("request", nargs="?", help="what is wanted, in plain words; default: PROMPT, else an example")
    parser.add_argument("--model", help="for example openai/gpt-4o; default: PLANGATE_MODEL, else the embedded one")
    parser.add_argument("--yes", action="store_true", help="approve without asking, also on a terminal")
    parser.add_argument("--keep", action="store_true", help="leave the directory with the sandbox and the database")
    arguments = parser.parse_args()
    environment = dict(os.environ)
    request = arguments.request or environment.pop("PROMPT", "").strip() or DEFAULT_REQUEST
    model = arguments.model or environment.get("PLANGATE_MODEL") or "embedded"
    try:
        with _directory(keep=arguments.keep) as directory:
            story = Story(
                directory,
                _server_environment(environment, directory, model),
                request=request,
                may_ask=sys.stdin.isatty() and sys.stdout.isatty() and not arguments.yes,
            )
            return asyncio.run(_run(story, environment if model == "embedded" else None))
    except (KeyboardInterrupt, asyncio.CancelledError):
        remarks().print("\nstopped")
        return 130
    except ServerEnded as error:
        for line in error.log:
            remarks().print(f"{error.name}: {line}", soft_wrap=True)
        remarks().print(f"plangate: {error}", style="red")
        return 1
    except StoryFailed as error:
        remarks().print(f"plangate: {error}", style="red", soft_wrap=True)
        return 1


async def _run(story: Story, model_environment: Mapping[str, str] | None) -> int:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    # SIGINT is asyncio's own business; these too must end every process that was started.
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    if model_environment is not None:
        await _pull_when_missing(model_environment)
    return await story.tell()


async def _pull_when_missing(environment: Mapping[str, str]) -> None:
    """Bring the embedded model unless it is there; `model pull` says how large it is before it begins."""
    program = (sys.executable, "-m", "planner_service", "model")
    nothing = asyncio.subprocess.DEVNULL
    status = await asyncio.create_subprocess_exec(
        *program, "status", env=environment, stdin=nothing, stdout=nothing, stderr=nothing
    )
    if await status.wait() == 0:
        return
    answers().print("The embedded model is not here yet; it is fetched once.")
    pull = await asyncio.create_subprocess_exec(*program, "pull", env=environment, stdin=nothing)
    try:
        if await pull.wait() != 0:
            raise StoryFailed("the model could not be fetched; --model names another one")
    finally:
        if pull.returncode is None:
            # As Ctrl-C at the terminal would: it keeps what it has and goes on with it next time.
            pull.send_signal(signal.SIGINT)
            await pull.wait()


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
            answers().print(f"left in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
