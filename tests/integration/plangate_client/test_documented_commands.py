"""Every shell block of the pages for users is run, in the order of its page, in a project as `plangate init` makes it,
with both servers up. Blocks that cannot be run here (servers that do not end, Kubernetes, keys of providers) say why in
a comment, `<!-- not run: WHY -->`; of these the commands, options and variables are compared with those that exist.
Other tests run docs/reference/grpcurl.md (test_grpcurl_page.py) and docs/tutorial.md (test_project.py)."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from plangate_client.command.app import app
from plangate_core.process.environment import known_variables
from tests.support.documentation import PAGES, ROOT, shell_blocks
from tests.support.pair import clean_environment, running_pair

TEMPLATE = ROOT / "plangate_client" / "project_template"
RUN_ELSEWHERE = {"grpcurl.md", "tutorial.md"}
# Of the image, of the Compose file and of the examples.
OTHER_VARIABLES = {"PLANGATE_AS", "PLANGATE_PROTOS", "PLANGATE_CREDENTIALS", "PLANGATE_POLICY_FLIE", "PLANGATE_TLS"}
# The servers' own programs read the arguments of these.
PASSED_ON = {
    ("store", "migrate"): "",
    ("store", "backup"): "",
    ("store", "copy"): "--to",
    ("store", "check"): "",
    ("store", "seal"): "--yes",
    ("store", "export"): "",
    ("model", "pull"): "--url --file",
    ("model", "status"): "--verify",
    ("policy", "test"): "--catalogue --policy",
    ("replay", ""): "--catalogue --policy --json",
}
# The page's ID is that of what waits; there is no terminal to ask at.
PRELUDE = """
plangate() {
  case " $* " in *" approve "*) set -- "$@" --yes;; esac
  command plangate "$@"
}
"""
FIND_ID = "ID=$(command plangate inbox --as bob | awk 'NR == 2 {print $1}')"


COMMAND: Any = typer.main.get_command(app)


def invocations(line: str) -> Iterator[list[str]]:
    """The words after each `plangate` that a line calls."""
    if not re.search(r"(^|[ (])plangate [a-z]", line):
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if not set(token) <= set(";&|()<>"):
            words.append(token)
            continue
        # Variables for this call come before it.
        words = list(itertools.dropwhile(lambda word: re.match("[A-Z_]+=", word), words))
        if words[:1] == ["plangate"]:
            yield words[1:]
        words = []


def options_of(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def fault(words: list[str]) -> str:
    """What is wrong with the words after `plangate`; empty when nothing is."""
    command = COMMAND
    known = {"--help", *options_of(command)}
    # What follows `--` is another program's.
    words = words[: words.index("--")] if "--" in words else words
    names = [
        word
        for before, word in itertools.pairwise(["", *words])
        if not word.startswith("-") and not before.startswith("-")
    ]
    if names and names[0] in {name for name, _ in PASSED_ON}:
        verb = names[1] if names[0] != "replay" and len(names) > 1 else ""
        if (verb or names[0] == "replay") and (names[0], verb) not in PASSED_ON:
            return f"{names[0]} has no {verb}"
        known |= set(PASSED_ON.get((names[0], verb), "").split())
        names = []
    for name in names:
        if commands := getattr(command, "commands", None):
            if name not in commands:
                return f"there is no {name}"
            command = commands[name]
            known |= options_of(command)
    return " ".join(word for word in words if word.startswith("-") and word not in known)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_options_and_variables_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    calls = [words for block in shell_blocks(page) for line in block.commands for words in invocations(line)]
    inline = [shlex.split(call) for call in re.findall(r"`plangate ([a-z][^`.…\\|]*)`", text)]
    assert [(words, wrong) for words in (*calls, *inline) if (wrong := fault(words))] == []
    variables = set(re.findall(r"\bPLANGATE_[A-Z_]+[A-Z]\b(?!\.\.\.)", text))
    assert variables - known_variables() - OTHER_VARIABLES == set()
    assert "\n    plangate " not in text, "a block of commands is fenced"


async def run(script: str, directory: Path, environment: dict[str, str]) -> str:
    """What a shell printed that failed; empty when every line succeeded."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", script),
        cwd=directory,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return "" if process.returncode == 0 else f"{script}\n{output.decode()}"


@pytest.mark.asyncio
@pytest.mark.timeout(300)
async def test_the_blocks_work_in_their_order(tmp_path: Path) -> None:
    catalogue, policy = ((TEMPLATE / name).read_text(encoding="utf-8") for name in ("catalogue.yaml", "policy.yaml"))
    scripts = {}
    for page in PAGES:
        lines = [line for block in shell_blocks(page) if not block.not_run for line in block.commands]
        if lines and page.name not in RUN_ELSEWHERE:
            scripts[page] = lines
    assert len(scripts) >= 8
    faults = {}
    async with running_pair(tmp_path, catalogue, policy=policy) as pair:
        for page, lines in scripts.items():
            project = tmp_path / page.stem
            shutil.copytree(TEMPLATE, project)
            (project / "verify_log.py").symlink_to(ROOT / "docs" / "verify_log.py")
            for line in lines:
                if "plangate plan " in line:
                    pair.script(("refund_order", {"order_id": "4711", "amount": 89.9}))
            followed = [f"{line}\n{FIND_ID}" if "plangate plan " in line else line for line in lines]
            script = PRELUDE + re.sub(r"\bID\b(?!=)", '"$ID"', "\n".join(followed))
            script = script.replace("127.0.0.1:50051", pair.store_address).replace(
                "127.0.0.1:50052", pair.planner_address
            )
            environment = {
                **clean_environment(),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PLANGATE_STORE_TARGET": pair.store_address,
                "PLANGATE_PLANNER_TARGET": pair.planner_address,
                "PLANGATE_ACTOR": "alice",
                "PLANGATE_DATABASE_URL": f"sqlite:///{project}/plangate.db",
            }
            if failed := await run(script, project, environment):
                faults[page.name] = failed
    assert faults == {}
