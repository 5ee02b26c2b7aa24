"""`make demo` end to end, with a model that says what the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.leftovers import mark, marked_processes
from tests.support.model_server import ModelServer, hangs, says
from tests.support.pair import clean_environment
from tests.support.polling import until

STEPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("find_log_errors", {"path": "logs/web.log"}),
    ("archive_old_logs", {"directory": "logs", "older_than_days": 30}),
    ("delete_file", {"path": "tmp/upload-cache.bin"}),
    ("delete_file", {"path": "data/customers.csv"}),
)


def plan(*steps: tuple[str, dict[str, Any]]) -> Any:
    jobs = [{"action_name": name, "action_args": args, "depends_on": []} for name, args in steps]
    return says({"objective": "Tidy up.", "jobs": jobs})


class Demo:
    """One run. `marked` is in the environment of every process of it."""

    def __init__(self, directory: Path, model: ModelServer) -> None:
        self.directory = directory
        self.model = model
        self.marked = mark()
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, prompt: str = "", **pipes: Any) -> asyncio.subprocess.Process:
        environment = {
            **clean_environment(),
            **self.marked,
            "PROMPT": prompt,
            "TMPDIR": str(self.directory),
            "PLANGATE_MODEL_BASE_URL": self.model.openai_url,
            "PLANGATE_MODEL_API_KEY": "not-a-secret",
        }
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "examples.demo", "--model", "openai/test-model"),
            env=environment,
            cwd=Path(__file__).parents[2],
            **{"stdin": asyncio.subprocess.DEVNULL, "stdout": pipe, "stderr": asyncio.subprocess.STDOUT, **pipes},
        )
        return self.process

    async def run(self, prompt: str = "") -> tuple[int | None, str]:
        process = await self.start(prompt)
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
        return process.returncode, output.decode()


@contextlib.asynccontextmanager
async def demo(directory: Path) -> AsyncIterator[Demo]:
    """Nothing stays behind, whatever happens in it."""
    async with ModelServer() as model:
        run = Demo(directory, model)
        try:
            yield run
        finally:
            if run.process is not None and run.process.returncode is None:
                run.process.terminate()
                await run.process.communicate()
        await until(lambda: marked_processes(run.marked) == [])
        assert os.listdir(directory) == []


@pytest.mark.asyncio
async def test_everything_happens_and_is_shown(tmp_path: Path) -> None:
    async with demo(tmp_path) as run:
        run.model.script(plan(*STEPS))
        status, output = await run.run()
    assert status == 0, output
    for words in (
        "allowed",
        "needs 1 approval",
        "denied",
        "customer-data-stays",
        "SELF_APPROVAL",
        "bob approves exactly this",
        "web.log: 3 errors",
        "- tmp/upload-cache.bin",
        "+ archive/logs-",
        "  data/customers.csv",
        "hash chain whole",
    ):
        assert words in output, words


@pytest.mark.asyncio
async def test_recorded_words_are_played_while_the_model_is_fetched_and_do_not_stand_for_it(tmp_path: Path) -> None:
    marked = mark()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.demo", "--yes"),
        env={
            **clean_environment(),
            **marked,
            "TMPDIR": str(tmp_path),
            "PLANGATE_MODEL_DIR": str(tmp_path / "models"),
            # The weights cannot come.
            "PIP_NO_INDEX": "1",
        },
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(110):
        output = (await process.communicate())[0].decode()
    assert output.startswith("Recorded: what the model says in this first act was said by the embedded model before.")
    for words in ("0 % of 1.12 GB", "openai/recorded", "- tmp/upload-cache.bin", "+ archive/logs-", "hash chain whole"):
        assert words in output, words
    # What was recorded is shown, and counts for nothing.
    assert process.returncode == 1, output
    assert "plangate: " in output.splitlines()[-1]
    await until(lambda: marked_processes(marked) == [])


@pytest.mark.asyncio
async def test_fails_when_a_step_does(tmp_path: Path) -> None:
    async with demo(tmp_path) as run:
        run.model.script(plan(("delete_file", {"path": "tmp/not-there"})))
        status, output = await run.run("delete tmp/not-there")
    assert status == 1
    assert "delete_file did not succeed" in output


@pytest.mark.asyncio
async def test_says_that_no_action_fits(tmp_path: Path) -> None:
    async with demo(tmp_path) as run:
        run.model.script(plan(("no_matching_action", {"reason": "nothing here books flights"})))
        status, output = await run.run("book a flight to Rome")
    assert status == 0
    assert "No action of the catalogue fits this request: nothing here books flights" in output
    assert "Nothing was planned and nothing runs" in output


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [signal.SIGINT])
async def test_leaves_nothing_behind_when_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    async with demo(tmp_path) as run:
        run.model.default = hangs()
        process = await run.start()
        async with asyncio.timeout(60):
            await until(lambda: run.model.in_flight > 0, timeout_seconds=40)
            assert len(marked_processes(run.marked)) == 3
            process.send_signal(number)
            output, _ = await process.communicate()
        assert process.returncode == 130
        assert "Traceback" not in output.decode()


@pytest.mark.asyncio
async def test_leaves_no_process_behind_when_killed(tmp_path: Path) -> None:
    async with demo(tmp_path) as run:
        run.model.default = hangs()
        process = await run.start()
        await until(lambda: run.model.in_flight > 0, timeout_seconds=40)
        process.kill()
        await process.communicate()
        # The servers end in order: a plan in the making is given its three seconds.
        await until(lambda: marked_processes(run.marked) == [], timeout_seconds=20)
        for left in os.listdir(tmp_path):
            shutil.rmtree(tmp_path / left)


@pytest.mark.asyncio
async def test_asks_at_a_terminal(tmp_path: Path) -> None:
    async with demo(tmp_path) as run:
        run.model.script(plan(*STEPS))
        terminal, other_end = pty.openpty()
        process = await run.start(stdin=other_end, stdout=other_end, stderr=other_end)
        os.close(other_end)
        seen = bytearray()

        def read() -> None:
            try:
                seen.extend(os.read(terminal, 65536))
            except OSError:
                # The other end is closed.
                asyncio.get_running_loop().remove_reader(terminal)

        asyncio.get_running_loop().add_reader(terminal, read)
        async with asyncio.timeout(60):
            await until(lambda: b"Approve exactly this as bob?" in seen, timeout_seconds=40)
            # One answer for each question there may be.
            os.write(terminal, b"no\n" * 2)
            await process.wait()
        asyncio.get_running_loop().remove_reader(terminal)
        os.close(terminal)
    text = seen.decode()
    assert process.returncode == 0, text
    assert "it will not run" in text
    assert "- tmp/upload-cache.bin" not in text
