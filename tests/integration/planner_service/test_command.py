"""`python -m planner_service`, as an operator meets it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.planner_house import CATALOGUE, POLICY
from tests.support.recorded_run import COMMITTED


async def run(*arguments: str, stdout: int = asyncio.subprocess.PIPE, **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PLANGATE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "planner_service",
        *arguments,
        env={**clean, **environment},
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, (out or b"").decode(), err.decode()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("variables", "wanted", "said"),
    [
        ({"PLANGATE_POLICY_FLIE": "p"}, 2, "PLANGATE_POLICY_FLIE is no setting: PLANGATE_POLICY_FILE is"),
        ({"PLANGATE_AUTH_TOKENS": "t"}, 2, "PLANGATE_AUTH_TOKENS is no setting: PLANGATE_AUTH_TOKENS_FILE is"),
        ({"PLANGATE_MODEL_BASE_URL": "localhost:8000"}, 2, "PLANGATE_MODEL_BASE_URL must be http(s)://"),
        ({"PLANGATE_MODEL_BASE_URL": "http://127.0.0.1:abc/v1"}, 2, "PLANGATE_MODEL_BASE_URL must be http(s)://"),
        ({"PLANGATE_MODEL_BASE_URL": "http://127.0.0.1:99999/v1"}, 2, "PLANGATE_MODEL_BASE_URL must be http(s)://"),
        ({"PLANGATE_MODEL_API_KEY": "two\nlines"}, 1, "the key for the provider openai cannot be sent"),
        ({"PLANGATE_MODEL_API_KEY": "gehe\u00edm"}, 1, "the key for the provider openai cannot be sent"),
        ({"PLANGATE_MODEL_API_KEY_FILE": "/dev/null"}, 2, "PLANGATE_MODEL_API_KEY_FILE is empty"),
        ({"PLANGATE_MODEL_API_KEY_FILE": "/none"}, 2, "PLANGATE_MODEL_API_KEY_FILE cannot be read: No such file"),
        ({"PLANGATE_MODEL_API_KEY_FILE": "/none", "PLANGATE_MODEL_API_KEY": "k"}, 2, "PLANGATE_MODEL_API_KEY and "),
        ({"PLANGATE_MODEL_BASE_URL": "https://user:key@host/v1"}, 2, "PLANGATE_MODEL_BASE_URL must be http(s)://"),
        ({"PLANGATE_PLANNER_IDENTITY": "system:planner"}, 2, "PLANGATE_PLANNER_IDENTITY: must not begin"),
        ({"PLANGATE_OTLP_ENDPOINT": "collector"}, 2, "PLANGATE_OTLP_ENDPOINT: String should match pattern '^https?://"),
        ({"PLANGATE_KEEPALIVE_SECONDS": "inf"}, 2, "PLANGATE_KEEPALIVE_SECONDS: Input should be a finite number"),
        ({"PLANGATE_MODEL_THREADS": "many"}, 2, "PLANGATE_MODEL_THREADS: Input should be a valid integer"),
        ({"PLANGATE_TLS": "perhaps"}, 2, "PLANGATE_TLS: Input should be a valid boolean"),
        ({"PLANGATE_DRAFT_CACHE_DIR": "/dev/null/drafts"}, 1, "PLANGATE_DRAFT_CACHE_DIR: Not a directory"),
        ({"PLANGATE_TLS_CERT_FILE": "c"}, 2, "PLANGATE_TLS_CERT_FILE and PLANGATE_TLS_KEY_FILE go together"),
        (
            {"PLANGATE_TLS_CERT_FILE": "pyproject.toml", "PLANGATE_TLS_KEY_FILE": "pyproject.toml"},
            1,
            "the TLS files cannot be used: they must be PEM",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
async def test_what_cannot_be_meant_is_refused_in_one_line(
    tmp_path: Path, variables: dict[str, str], wanted: int, said: str
) -> None:
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(CATALOGUE)
    common = {
        "PLANGATE_CATALOGUE_FILE": str(catalogue),
        "PLANGATE_PLANNER_LISTEN": "127.0.0.1:0",
        "PLANGATE_MODEL": "openai/x",
        "PLANGATE_MODEL_BASE_URL": "http://127.0.0.1:1/v1",
    }
    status, _, err = await run(**{**common, **variables})
    assert (status, err.count("\n")) == (wanted, 1), err
    assert err.startswith(f"plangate-planner: {said}")


@pytest.mark.asyncio
async def test_variables_of_others_are_no_mistake(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(CATALOGUE)
    status, _, err = await run(
        "check",
        PLANGATE_CATALOGUE_FILE=str(catalogue),
        PLANGATE_DATABASE_URL="sqlite:///x.db",
        PLANGATE_HEALTH_TARGET="localhost:50052",
        PLANGATE_PLANNER_PORT="tcp://10.0.0.1:50052",
        PLANGATE_STORE_SERVICE_PORT_GRPC="50051",
        PLANGATE_STORE_PORT_50051_TCP_ADDR="10.0.0.1",
        PLANGATE_XYZZY="secret",
    )
    assert status == 0
    assert [json.loads(line)["names"] for line in err.splitlines()] == [["PLANGATE_XYZZY"]]
    assert "secret" not in err


@pytest.mark.asyncio
async def test_checking_and_refusing(tmp_path: Path) -> None:
    catalogue, policy, bad = (tmp_path / name for name in ("catalogue.yaml", "policy.yaml", "bad.yaml"))
    catalogue.write_text(CATALOGUE)
    policy.write_text(POLICY)
    bad.write_text("version: 1\nrules: [{name: a, effect: allow, when: '1 +'}]")
    files = {"PLANGATE_CATALOGUE_FILE": str(catalogue), "PLANGATE_POLICY_FILE": str(policy)}
    odd = tmp_path / "odd.yaml"
    odd.write_text(CATALOGUE.replace("minimum: 1, default: 1", "minimum: 1, default: 0"))
    good, warned, refused, unset, wrong = await asyncio.gather(
        run("check", **files),
        run("check", **{**files, "PLANGATE_CATALOGUE_FILE": str(odd)}),
        run("check", **{**files, "PLANGATE_POLICY_FILE": str(bad)}),
        run(PLANGATE_MODEL="openai/x"),
        run("serve", **files, PLANGATE_KERNEL_CONCURRENCY="many"),
    )
    assert good[0] == 0
    assert good[1].startswith("catalogue: 4 actions, digest ")
    assert "policy: 1 rules, digest " in good[1]
    assert good[2] == ""
    assert (warned[0], warned[1].splitlines()[1:]) == (0, good[1].splitlines()[1:])
    assert warned[2].startswith(f"plangate-planner: warning: {odd}:11:")
    assert "properties.depth.default: this default is not used" in warned[2]
    assert refused[0] == 1
    assert refused[2].startswith(f"plangate-planner: {bad}:2:40: rules.0.when: at 1:4: Syntax error")
    assert unset[0] == 1
    assert unset[2].count("\n") == 1
    assert "PLANGATE_CATALOGUE_FILE" in unset[2]
    assert wrong[0] == 2
    assert wrong[2].startswith("plangate-planner: PLANGATE_KERNEL_CONCURRENCY: ")


@pytest.mark.asyncio
async def test_check_warns_of_scopes_about_nobody(tmp_path: Path) -> None:
    catalogue, tokens = tmp_path / "catalogue.yaml", tmp_path / "tokens.yaml"
    catalogue.write_text(CATALOGUE)
    tokens.write_text(
        f"tokens: [{{sha256: '{'0' * 64}', identity: ann, roles: [shop, sre]}}]\n"
        "scopes: [{roles: [shpo], reads: all}]\n"
    )
    files = {"PLANGATE_CATALOGUE_FILE": str(catalogue), "PLANGATE_AUTH_TOKENS_FILE": str(tokens)}
    warned, strict = await asyncio.gather(run("check", **files), run("check", "--strict", **files))
    said = f"{tokens}: scopes.0.roles: no credential gives the role 'shpo'\n"
    assert (warned[0], warned[2]) == (0, f"plangate-planner: warning: {said}")
    assert (strict[0], strict[1], strict[2]) == (1, "", f"plangate-planner: {said}")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "arguments", [("model", "status"), ("check",), ("replay", str(COMMITTED / "recording.jsonl")), ("serve",)]
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
async def test_output_that_nobody_reads_ends_a_subcommand_quietly(
    tmp_path: Path, arguments: tuple[str, ...], unbuffered: str
) -> None:
    for name, text in (("catalogue.yaml", CATALOGUE), ("policy.yaml", POLICY), ("weights.gguf", "GGUF")):
        (tmp_path / name).write_text(text)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        status, _, err = await run(
            *arguments,
            stdout=writer,
            PYTHONUNBUFFERED=unbuffered,
            PLANGATE_CATALOGUE_FILE=str(tmp_path / "catalogue.yaml"),
            PLANGATE_POLICY_FILE=str(tmp_path / "policy.yaml"),
            PLANGATE_PLANNER_LISTEN="127.0.0.1:0",
            PLANGATE_MODEL="openai/x",
            PLANGATE_MODEL_API_KEY="k",
            PLANGATE_MODEL_PATH=str(tmp_path / "weights.gguf"),
            PLANGATE_LOG_LEVEL="error",
        )
    finally:
        os.close(writer)
    assert (status, err) == (141, "")
