"""Real commands and real HTTP requests, as the executor makes them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from plangate_client.executor.command_binding import CommandLine
from plangate_client.executor.command_run import run_command
from plangate_client.executor.http_binding import HttpRequest
from plangate_client.executor.http_run import run_http
from plangate_client.executor.outcome import Outcome
from plangate_core.catalogue.binding_forms import CommandForm, HttpForm
from tests.support.polling import until


async def run(directory: Path, code: str, *arguments: str, stdin: bytes | None = None, **fields: Any) -> Outcome:
    form = CommandForm.model_validate({"argv": ["x"], **fields})
    line = CommandLine((sys.executable, "-c", code, *arguments), {"PATH": os.defpath, "MARK": "1"}, directory, stdin)
    return await run_command(line, form)


def is_alive(pid: int) -> bool:
    try:
        # A zombie that nobody has reaped yet runs no more.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.asyncio
async def test_hands_arguments_environment_and_input_over_as_they_are(tmp_path: Path) -> None:
    code = "import sys, os, json; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), sys.stdin.read()]))"
    outcome = await run(tmp_path, code, "a b; rm -rf /", "$(x)\n", "", stdin=b"{}")
    assert outcome.succeeded
    assert outcome.result["exit_status"] == 0
    argv, environment, directory, stdin = json.loads(str(outcome.result["stdout"]))
    assert argv == ["a b; rm -rf /", "$(x)\n", ""]
    assert environment.keys() - {"LC_CTYPE"} == {"PATH", "MARK"}
    assert os.path.samefile(directory, tmp_path)  # noqa: ASYNC240
    assert stdin == "{}"


@pytest.mark.asyncio
async def test_a_status_other_than_zero_is_a_failure(tmp_path: Path) -> None:
    code = "import sys; print('out'); print('no such thing', file=sys.stderr); sys.exit(3)"
    outcome = await run(tmp_path, code, retry_on_exit=[3])
    assert outcome.reason == "EXIT_STATUS"
    assert outcome.message.endswith("ended with status 3: no such thing")
    assert outcome.retryable
    assert outcome.result["stdout"] == "out\n"
    assert not (await run(tmp_path, code, retry_on_exit=[4])).retryable


@pytest.mark.asyncio
async def test_output_is_cut_to_its_last_bytes(tmp_path: Path) -> None:
    outcome = await run(
        tmp_path,
        "print('x' * 3_000_000); print('end\\x00\\udcff'.encode('utf8', 'surrogateescape'))",
        output_limit_bytes=64,
    )
    assert outcome.succeeded
    assert outcome.result["output_cut"] is True
    assert len(str(outcome.result["stdout"])) == 64
    assert str(outcome.result["stdout"]).rstrip().endswith("'")


@pytest.mark.asyncio
async def test_a_command_that_takes_too_long_is_stopped_with_all_it_started(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    outcome = await run(tmp_path, code, timeout_seconds=3)
    assert outcome.reason == "TIMED_OUT"
    assert not outcome.retryable
    assert outcome.result["exit_status"] == -9
    await until(lambda: not is_alive(int(str(outcome.result["stdout"]))))


@pytest.mark.asyncio
async def test_what_a_command_leaves_behind_is_ended(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
    )
    started = time.monotonic()
    outcome = await run(tmp_path, code)
    assert outcome.succeeded
    assert time.monotonic() - started < 30
    await until(lambda: not is_alive(int(str(outcome.result["stdout"]))))


@pytest.mark.asyncio
async def test_a_cancelled_run_ends_its_process_first(tmp_path: Path) -> None:
    code = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
    task = asyncio.create_task(run(tmp_path, code))
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    pid = int((tmp_path / "pid").read_text())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_alive(pid)


@pytest.mark.asyncio
async def test_says_what_could_not_be_started(tmp_path: Path) -> None:
    form = CommandForm.model_validate({"argv": ["x"]})
    missing = await run_command(CommandLine(("no-such-program",), {"PATH": "/bin"}, tmp_path, None), form)
    assert (missing.reason, missing.retryable) == ("NOT_STARTED", False)
    assert "no-such-program" in missing.message
    nowhere = await run_command(CommandLine(("true",), {"PATH": "/bin"}, tmp_path / "no", None), form)
    assert nowhere.reason == "NOT_STARTED"
    assert f"No such file or directory: its working directory {tmp_path / 'no'}" in nowhere.message


@pytest_asyncio.fixture
async def service() -> AsyncIterator[tuple[str, list[web.Request]]]:
    seen: list[web.Request] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request)  # type: ignore[arg-type]
        await request.read()
        path = request.path
        if path == "/slow":
            await asyncio.sleep(60)
        if path == "/busy":
            return web.json_response({"error": "busy"}, status=429, headers={"Retry-After": "7"})
        if path == "/for_ever":
            return web.Response(status=503, headers={"Retry-After": "9" * 5000})
        if path == "/moved":
            return web.Response(status=302, headers={"Location": "/ok"})
        if path == "/large":
            return web.Response(body=b"x" * 1_000_000)
        if path == "/precise":
            return web.json_response({"account": 2**60})
        return web.json_response({"seen": await request.text(), "path": request.raw_path, "list": [1, 2.5]})  # type: ignore[attr-defined]

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}", seen
    await runner.cleanup()


async def ask(url: str, method: str = "GET", content: bytes | None = None, **fields: Any) -> Outcome:
    form = HttpForm.model_validate({"method": method, "url": "http://x/", **fields})
    return await run_http(HttpRequest(method, url, {"X-A": "b"}, content), form)


@pytest.mark.asyncio
async def test_http_answers_become_the_result(service: tuple[str, list[web.Request]]) -> None:
    origin, seen = service
    outcome = await ask(f"{origin}/a%2Fb/..%2Fc?q=%26", "POST", b'{"a":1}')
    assert outcome.succeeded
    assert outcome.result["status"] == 200
    assert outcome.result["body"] == {"seen": '{"a":1}', "path": "/a%2Fb/..%2Fc?q=%26", "list": [1, 2.5]}
    assert seen[0].headers["X-A"] == "b"


@pytest.mark.asyncio
async def test_http_requests_go_where_the_catalogue_says_whatever_the_environment(
    service: tuple[str, list[web.Request]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert (await ask(f"{service[0]}/ok")).succeeded


@pytest.mark.asyncio
async def test_http_failures_are_told_apart(service: tuple[str, list[web.Request]]) -> None:
    origin, _ = service
    busy = await ask(f"{origin}/busy", retry_on_status=[429])
    assert (busy.reason, busy.retryable, busy.retry_delay_seconds) == ("HTTP_STATUS", True, 7.0)
    assert not (await ask(f"{origin}/busy")).retryable
    for_ever = await ask(f"{origin}/for_ever", retry_on_status=[503])
    assert (for_ever.reason, for_ever.retryable, for_ever.retry_delay_seconds) == ("HTTP_STATUS", True, None)
    moved = await ask(f"{origin}/moved")
    assert (moved.reason, moved.result["status"]) == ("HTTP_STATUS", 302)
    slow = await ask(f"{origin}/slow", timeout_seconds=0.3)
    assert (slow.reason, slow.retryable) == ("TIMED_OUT", False)
    nobody = await ask("http://127.0.0.1:1/")
    assert (nobody.reason, nobody.retryable) == ("HTTP_FAILED", True)


@pytest.mark.asyncio
async def test_http_answers_are_read_up_to_a_limit(service: tuple[str, list[web.Request]]) -> None:
    origin, _ = service
    large = await ask(f"{origin}/large", output_limit_bytes=100)
    assert large.result["body"] == "x" * 100
    assert large.result["output_cut"] is True
    precise = await ask(f"{origin}/precise")
    assert precise.result["body"] == f'{{"account": {2**60}}}'
