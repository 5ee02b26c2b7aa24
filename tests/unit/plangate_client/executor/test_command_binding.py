"""A value can never become another argument, nor an option that the author of the catalogue did not write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plangate_client.executor.command_binding import CommandBinding, CommandLine
from plangate_client.executor.template import ArgumentMissing, ArgumentRefused, TemplateInvalid, Values
from plangate_core.catalogue.argument_schema import ArgumentSchema, closed
from plangate_core.catalogue.binding_forms import CommandForm

SCHEMA: dict[str, Any] = {
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer"},
        "names": {"type": "array", "items": {"type": "string"}},
        "filter": {"type": "object"},
        "limit": {"type": "integer"},
        "kind": {"type": "string", "default": "all"},
    },
    "required": ["name", "count", "names", "filter"],
}
CONSTANTS = {
    "proposal.id": "0197",
    "proposal.plan_id": "",
    "proposal.attempt": "1",
    "python": "/usr/bin/python3",
    "catalogue_directory": "/etc/plangate",
}
HOSTILE = [
    "-rf",
    "--output=/etc/x",
    "--",
    "-",
    "a b; rm -rf /",
    "$(touch x)",
    "`id`",
    "a\nb",
    "'; drop table x; --",
    "../../etc/passwd",
    "{args.name}",
    "{python}",
    "%n%s",
    "*",
    "~root",
    "|cat",
    "\u202e-rf",
    "",
]


def compiled(*argv: str | list[str], parameters: dict[str, Any] | None = None, **fields: Any) -> CommandBinding:
    form = CommandForm.model_validate({"argv": list(argv), **fields})
    return CommandBinding.compile(form, ArgumentSchema(closed(SCHEMA if parameters is None else parameters)))


def rendered(binding: CommandBinding, directory: Path = Path("/"), **args: Any) -> CommandLine:
    return binding.render(Values(args, CONSTANTS), {"PATH": "/bin", "TOKEN": "secret", "HOME": "/root"}, directory)


@pytest.mark.parametrize("value", HOSTILE)
def test_one_element_stays_one_argument(value: str) -> None:
    line = rendered(compiled("tool", "--name={args.name}", "--", "{args.name}", "end"), name=value)
    assert line.argv == ("tool", f"--name={value}", "--", value, "end")


@pytest.mark.parametrize("value", [value for value in HOSTILE if value.startswith("-")])
@pytest.mark.parametrize("element", ["{args.name}", "{args.name}.txt", "{args.name}{args.name}"])
def test_a_value_cannot_begin_an_option(value: str, element: str) -> None:
    with pytest.raises(ArgumentRefused, match="option"):
        rendered(compiled("tool", element), name=value)


def test_a_negative_number_is_an_option_too() -> None:
    with pytest.raises(ArgumentRefused):
        rendered(compiled("tool", "{args.count}"), count=-1)
    assert rendered(compiled("tool", "--count={args.count}"), count=-1).argv == ("tool", "--count=-1")


def test_an_empty_value_before_a_dashed_one_is_an_option_too() -> None:
    parameters = {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a", "b"]}
    with pytest.raises(ArgumentRefused):
        rendered(compiled("tool", "{args.a}{args.b}", parameters=parameters), a="", b="-x")


def test_a_list_gives_one_argument_each() -> None:
    binding = compiled("tool", "{args.names*}", "end")
    assert rendered(binding, names=["a b", "c"]).argv == ("tool", "a b", "c", "end")
    assert rendered(binding, names=[]).argv == ("tool", "end")
    with pytest.raises(ArgumentRefused, match="option"):
        rendered(binding, names=["a", "-rf"])
    with pytest.raises(ArgumentRefused):
        rendered(binding, names=["a", ["b"]])
    with pytest.raises(ArgumentRefused):
        rendered(binding, names=[None])


def test_two_dashes_of_a_value_do_not_end_the_options() -> None:
    binding = compiled("tool", "--x={args.name}", "{args.kind}")
    with pytest.raises(ArgumentRefused):
        rendered(binding, name="--", kind="--output=x")


def test_two_dashes_in_a_list_that_went_away_do_not_count() -> None:
    binding = compiled("tool", ["--limit={args.limit}", "--"], "{args.name}")
    assert rendered(binding, name="-x", limit=1).argv == ("tool", "--limit=1", "--", "-x")
    with pytest.raises(ArgumentRefused):
        rendered(binding, name="-x")


def test_an_optional_list_goes_away_as_a_whole() -> None:
    binding = compiled("tool", ["--limit", "{args.limit}"], "{args.name}")
    assert rendered(binding, name="x", limit=3).argv == ("tool", "--limit", "3", "x")
    assert rendered(binding, name="x").argv == ("tool", "x")
    assert rendered(binding, name="x", limit=None).argv == ("tool", "x")


def test_a_missing_argument_outside_of_one_is_an_error() -> None:
    with pytest.raises(ArgumentMissing):
        rendered(compiled("tool", "{args.kind}"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["{args.name}"], "program"),
        ([["{args.limit}"], "x"], "program"),
        (["tool", "{args.absent}"], "names no argument"),
        (["tool", "{args.limit}"], "may be missing"),
        (["tool", ["--limit", "3"]], "could be missing"),
        (["tool", "{args.names}"], "array"),
        (["tool", "{args.filter}"], "object"),
        (["tool", "x{args.names*}"], "whole element"),
        (["tool", "{args.name*}"], "for lists"),
        (["sh", "-c", "rm {args.name}"], "into code"),
        (["/bin/bash", "-lc", "{args.name}"], "into code"),
        (["env", "-i", "dash", "-c", "{args.name}"], "into code"),
        (["{python}", "-c", "print('{args.name}')"], "into code"),
        (["python3.12", "-c{args.name}"], "into code"),
        (["perl", "-e", "{args.name}"], "into code"),
        (["node", "--eval={args.name}"], "into code"),
        (["node", "--eval", "{args.name}"], "into code"),
        (["node", "-p", "{args.name}"], "into code"),
        (["node", "-r", "module", "-e", "{args.name}"], "into code"),
        (["deno", "eval", "{args.name}"], "into code"),
        (["bash", "-euo", "pipefail", "-c", "rm {args.name}"], "into code"),
        (["bash", "-c", "-o", "pipefail", "rm {args.name}"], "into code"),
        (["bash", "-co", "pipefail", "rm {args.name}"], "into code"),
        (["bash", "--rcfile", "file", "-c", "{args.name}"], "into code"),
        (["bash", "-cx", "{args.name}"], "into code"),
        (["sh", "-c", "--", "{args.name}"], "into code"),
        (["python3", "-W", "ignore", "-c", "{args.name}"], "into code"),
        (["python3", "-cprint('{args.name}')"], "into code"),
        (["perl", "-I", "lib", "-ne", "{args.name}"], "into code"),
        (["php", "-d", "a=b", "-r", "{args.name}"], "into code"),
        *(
            ([name, option, "{args.name}"], "into code")
            for option, names in (
                ("-e", "nodejs node18 node-20 lua5.4 luajit perl5.36.0 ruby3.1"),
                ("-r", "php8.2 php7"),
                ("-c", "ksh93 rbash bash5 zsh-5.9 rksh python3 python3.12 python3.13t pypy3.10 ipython3"),
            )
            for name in names.split()
        ),
        (["env", "-S", "sh -c {args.name}"], "into code"),
        (["env", "-iS", "tool {args.name}"], "into code"),
        (["/usr/bin/env", "-Stool {args.name}"], "into code"),
        (["env", "-u", "HOME", "--split-string=tool {args.name}"], "into code"),
        (["env", "--split-string", "{args.name}"], "into code"),
        (["env", "-S", "A=b bash -c", "{args.name}"], "into code"),
        (["env", "-vSpython3.12 -c", "{args.name}"], "into code"),
    ],
)
def test_refuses_at_load(argv: list[Any], message: str) -> None:
    with pytest.raises(TemplateInvalid, match=message):
        compiled(*argv)


@pytest.mark.parametrize(
    "argv",
    [
        ["sh", "-c", 'ls -- "$1"', "sh", "{args.name}"],
        ["{python}", "{catalogue_directory}/actions.py", "-c", "{args.name}"],
        ["{python}", "-m", "tool", "-e", "{args.name}"],
        ["grep", "-e", "{args.name}"],
        ["bash", "-euo", "pipefail", "-c", 'ls -- "$1"', "bash", "{args.name}"],
        ["bash", "-e", "script.sh", "-c", "{args.name}"],
        ["php", "-r", "echo $argv[1];", "--", "{args.name}"],
        ["env", "bash", "script.sh", "{args.name}"],
        ["env", "-u", "HOME", "A=b", "tool", "-S", "{args.name}"],
        ["env", "-S", "tool --verbose", "{args.name}"],
        ["env", "-Sbash script.sh", "-c", "{args.name}"],
        ["env", "A={args.name}", "tool"],
        ["7z", "-e", "{args.name}"],
        ["perl5.36.0", "-e", "print @ARGV", "--", "{args.name}"],
    ],
)
def test_takes_what_hands_values_over(argv: list[str]) -> None:
    compiled(*argv)


def test_the_environment_is_what_the_catalogue_lists() -> None:
    binding = compiled(
        "tool",
        environment={
            "NOTE": "{args.name}",
            "LANG": "C.UTF-8",
            "KEY": {"env": "TOKEN", "prefix": "Bearer "},
            "LIMIT": "{args.limit}",
        },
    )
    assert binding.referenced_environment == {"TOKEN"}
    assert rendered(binding, name="-x").environment == {
        "PATH": "/bin",
        "NOTE": "-x",
        "LANG": "C.UTF-8",
        "KEY": "Bearer secret",
    }


@pytest.mark.parametrize(
    "environment", [{"A": "{args.names*}"}, {"A=B": "x"}, {"A": "{args.absent}"}, {"A": "{args.names}"}]
)
def test_refuses_environments_at_load(environment: dict[str, str]) -> None:
    with pytest.raises(TemplateInvalid):
        compiled("tool", environment=environment)


def test_arguments_as_json_on_standard_input() -> None:
    assert rendered(compiled("tool", stdin="json"), name="ä").stdin == '{"name": "ä"}'.encode()
    assert rendered(compiled("tool"), name="ä").stdin is None


class TestPaths:
    @pytest.fixture
    def sandbox(self, tmp_path: Path) -> Path:
        (tmp_path / "sandbox" / "logs").mkdir(parents=True)
        (tmp_path / "sandbox" / "logs" / "a.log").write_text("x")
        (tmp_path / "secret").write_text("x")
        (tmp_path / "sandbox" / "link").symlink_to(tmp_path / "secret")
        (tmp_path / "sandbox" / "inner").symlink_to(tmp_path / "sandbox" / "logs")
        return tmp_path / "sandbox"

    @pytest.mark.parametrize(
        ("value", "inside"),
        [
            ("logs/a.log", "logs/a.log"),
            ("./logs/../logs/a.log", "logs/a.log"),
            ("inner/a.log", "logs/a.log"),
            ("new.txt", "new.txt"),
            ("-rf", "-rf"),
            (".", ""),
            ("..a", "..a"),
            ("a\nb", "a\nb"),
        ],
    )
    def test_gives_the_real_path(self, sandbox: Path, value: str, inside: str) -> None:
        line = rendered(compiled("rm", "{args.name}", paths={"args.name": "."}), sandbox, name=value)
        assert line.argv == ("rm", str((sandbox / inside).resolve()))
        assert line.working_directory == sandbox.resolve()

    @pytest.mark.parametrize("value", ["..", "../secret", "/etc/passwd", "link", "logs/../../secret", "a/../.."])
    def test_refuses_what_leads_out(self, sandbox: Path, value: str) -> None:
        with pytest.raises(ArgumentRefused, match="leads out"):
            rendered(compiled("rm", "--file={args.name}", paths={"args.name": "."}), sandbox, name=value)

    @pytest.mark.parametrize("value", ["circle/../link", "circle/x/../../link", "inner/circle/../../link"])
    def test_refuses_what_leads_out_behind_a_circle_of_links(self, sandbox: Path, value: str) -> None:
        for directory in (sandbox, sandbox / "logs"):
            (directory / "circle").symlink_to("circle")
        with pytest.raises(ArgumentRefused, match="leads out"):
            rendered(compiled("cat", "{args.name}", paths={"args.name": "."}), sandbox, name=value)

    def test_a_circle_of_links_is_left_to_the_program(self, sandbox: Path) -> None:
        (sandbox / "circle").symlink_to("circle")
        line = rendered(compiled("cat", "{args.name}", paths={"args.name": "."}), sandbox, name="circle")
        assert line.argv == ("cat", str(sandbox.resolve() / "circle"))

    def test_holds_for_every_element_of_a_list(self, sandbox: Path) -> None:
        binding = compiled("rm", "{args.names*}", paths={"args.names": "logs"})
        assert rendered(binding, sandbox, names=["logs/a.log"]).argv == ("rm", str(sandbox.resolve() / "logs/a.log"))
        with pytest.raises(ArgumentRefused, match="leads out"):
            rendered(binding, sandbox, names=["logs/a.log", "other"])

    def test_a_sibling_with_the_same_beginning_is_outside(self, sandbox: Path) -> None:
        with pytest.raises(ArgumentRefused):
            rendered(compiled("rm", "{args.name}", paths={"args.name": "logs"}), sandbox, name="logs2/x")

    def test_must_name_a_placeholder(self) -> None:
        with pytest.raises(TemplateInvalid, match="no placeholder"):
            compiled("rm", "{args.name}", paths={"args.nam": "."})
        with pytest.raises(TemplateInvalid, match="no placeholder"):
            compiled("rm", "{args.name:json}", paths={"args.name": "."})


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_value_is_one_argument_or_refused(value: str) -> None:
    binding = compiled("tool", "{args.name}", "end")
    try:
        line = rendered(binding, name=value)
    except ArgumentRefused:
        assert value.startswith("-")
    else:
        assert line.argv == ("tool", value, "end")
        assert not value.startswith("-")
