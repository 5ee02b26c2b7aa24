"""A command binding: from an argument vector with placeholders to exactly the arguments that its author meant.

A value can never become another argument, nor an option that the author did not write:

- no shell is involved, and one element of `argv` gives one argument, whatever characters the value holds;
- an argument that begins with a value may not begin with "-", unless the author put "--" before it: write
  `--name={args.name}`, or `--` as an element of its own, where values may begin so;
- the program itself, and code handed to an interpreter (`sh -c`, `python -c`), may not hold values;
- an argument that may be missing stands in a list of its own, which goes away as a whole: [--limit, "{args.limit}"].
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from plangate_client.executor.arguments import check_placeholder
from plangate_client.executor.template import (
    ArgumentMissing,
    ArgumentRefused,
    Placeholder,
    Template,
    TemplateInvalid,
    Values,
)
from plangate_core.catalogue.argument_schema import ArgumentSchema
from plangate_core.catalogue.binding_forms import CommandForm, EnvironmentReference
from plangate_core.text.truncation import truncate

_NEVER = re.compile(r"(?!)")
# Programs that run code which they are handed, without the version in their names (python3.12, zsh-5.9); options that
# code follows, or that hold it themselves; options that are followed by something else.
_VERSION = re.compile(r"[-_]?\d[\d.]*[a-z]?\Z")
_SPLIT_BY_ENV = re.compile(r"-\w*?S(.*)|--s[-a-z]*(?:=(.*))?", re.DOTALL)
_INTERPRETERS = tuple(
    (re.compile(names), re.compile(rf"(?:{code})(?:=.*)?", re.DOTALL), re.compile(others))
    for names, code, others in (
        (
            r"(?:r?ba|da|r?z|r?k|pdk|ok|lk|mk|ya|a|fi|c|tc|xon|elvi|r)?sh|busybox|nu|script",
            r"-\w*c\w*|--command",
            r"[-+]\w*[oO]|--\w+-?file",
        ),
        (r"pwsh|powershell", r"-(?i:c|e|ec|Command|EncodedCommand)", r"-(?i:ExecutionPolicy|ep|ex)"),
        (r"cmd", r"/[cCkK]", r"(?!)"),
        (r"i?python|pypy", r"-\w*c.*", r"-\w*[WX]"),
        (r"perl|j?ruby|lua(?:jit)?|Rscript|osascript", r"-\w*[eE].*", r"-\w*[ICrl]"),
        (r"node(?:js)?|bun|deno", r"-\w*[ep]|--(?:eval|print)|eval", r"-r|--(?:require|import|loader|env-file)"),
        # What env splits is a command line of its own.
        (r"env", r"-\w*S.*|--s[-a-z]*", r"-\w*[uCa]|--(?:unset|chdir|argv0)"),
        (r"php", r"-[rBRE].*|--(?:run|process-begin|process-code|process-end)", r"-[dcz]"),
    )
)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What is executed. `environment` is all that the program sees."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    working_directory: Path
    stdin: bytes | None


@dataclass(frozen=True, slots=True)
class CommandBinding:
    """One action's command."""

    form: CommandForm
    argv: tuple[Template | tuple[Template, ...], ...]
    environment: Mapping[str, Template | EnvironmentReference]
    working_directory: Template
    paths: Mapping[str, Template]

    @classmethod
    def compile(cls, form: CommandForm, schema: ArgumentSchema) -> Self:
        """Check what the author wrote. Raises TemplateInvalid."""
        argv: list[Template | tuple[Template, ...]] = []
        for element in form.argv:
            if isinstance(element, str):
                argv.append(_checked(element, schema, may_be_missing=False))
            else:
                group = tuple(_checked(text, schema, may_be_missing=True) for text in element)
                if not any(template.holds_arguments for template in group):
                    raise TemplateInvalid(f"argv: the list {element} holds no argument that could be missing")
                argv.append(group)
        program = argv[0]
        if isinstance(program, tuple) or program.holds_arguments:
            raise TemplateInvalid("argv: the program itself must not depend on arguments")
        _refuse_values_in_code([template for element in argv for template in _group(element)])
        environment = {
            name: value if isinstance(value, EnvironmentReference) else _checked(value, schema, may_be_missing=True)
            for name, value in form.environment.items()
        }
        for name, value in environment.items():
            if isinstance(value, Template) and any(part.form == "spread" for part in value.placeholders):
                raise TemplateInvalid(f"environment: {name} takes one value: write {{args.NAME:json}} for a list")
            if "=" in name or "\0" in name:
                raise TemplateInvalid(f"environment: {name!r} is no name of a variable")
        return cls(
            form=form,
            argv=tuple(argv),
            environment=environment,
            working_directory=_fixed(form.working_directory, "working_directory"),
            paths=_path_limits(form, argv),
        )

    @property
    def program(self) -> Template:
        """The first element of argv."""
        program = self.argv[0]
        assert isinstance(program, Template)
        return program

    @property
    def referenced_environment(self) -> frozenset[str]:
        """Variables that must be set where the executor runs."""
        return frozenset(value.env for value in self.environment.values() if isinstance(value, EnvironmentReference))

    def render(self, values: Values, process_environment: Mapping[str, str], directory: Path) -> CommandLine:
        """Put the values in.

        :param process_environment: where PATH and referenced variables are taken from.
        :param directory: what a relative working directory is relative to.
        :raises ArgumentMissing: an argument outside of an optional list is absent.
        :raises ArgumentRefused: a value may not stand where it would.
        """
        working_directory = (directory / self.working_directory.fill(values)).resolve()
        arguments = _Arguments(values, self.paths, working_directory)
        for element in self.argv:
            arguments.add(element)
        environment = {"PATH": process_environment.get("PATH", os.defpath)}
        for name, value in self.environment.items():
            if isinstance(value, EnvironmentReference):
                environment[name] = value.prefix + process_environment[value.env]
                continue
            try:
                environment[name] = arguments.fill(value)
            except ArgumentMissing:
                continue
        stdin = None
        if self.form.stdin == "json":
            stdin = json.dumps(values.args, ensure_ascii=False).encode()
        return CommandLine(tuple(arguments.argv), environment, working_directory, stdin)


class _Arguments:
    """Collects the arguments of one command line."""

    def __init__(self, values: Values, paths: Mapping[str, Template], working_directory: Path) -> None:
        self.argv: list[str] = []
        self._values = values
        self._limits = {name: (working_directory / limit.fill(values)).resolve() for name, limit in paths.items()}
        self._working_directory = working_directory
        self._options_have_ended = False

    def add(self, element: Template | tuple[Template, ...]) -> None:
        if isinstance(element, Template):
            self._add(self._rendered(element), element)
            return
        try:
            rendered = [self._rendered(template) for template in element]
        except ArgumentMissing:
            return
        for template, texts in zip(element, rendered, strict=True):
            self._add(texts, template)

    def fill(self, template: Template) -> str:
        return "".join(
            part if isinstance(part, str) else self._inside(self._values.text(part), part) for part in template.parts
        )

    def _rendered(self, template: Template) -> list[str]:
        whole = template.whole
        if whole is None or whole.form != "spread":
            return [self.fill(template)]
        return [self._inside(text, whole) for text in self._values.elements(whole)]

    def _add(self, texts: list[str], template: Template) -> None:
        for text in texts:
            if text.startswith("-") and template.begins_with_argument and not self._options_have_ended:
                raise ArgumentRefused(
                    f"{template.source} would become the option {_quoted(text)}: a value that begins an argument must "
                    "not begin with '-'"
                )
            self.argv.append(text)
        if template.literal == "--":
            self._options_have_ended = True

    def _inside(self, text: str, placeholder: Placeholder) -> str:
        """The real path, without links and dots, where the catalogue limits it to a directory; else the text."""
        limit = self._limits.get(placeholder.name) if placeholder.is_argument else None
        if limit is None:
            return text
        path = Path(os.path.realpath(self._working_directory / text))
        # Up to Python 3.12 a link that leads round in a circle ends the resolving: links that come after it and ".."
        # would not have been followed here, but would be by the program.
        if not path.is_relative_to(limit) or os.path.realpath(path) != str(path):
            raise ArgumentRefused(
                f"{placeholder.name} leads out of the directory that the catalogue allows: {_quoted(text)}"
            )
        return str(path)


def _checked(text: str, schema: ArgumentSchema, *, may_be_missing: bool) -> Template:
    template = Template.parse(text)
    for placeholder in template.placeholders:
        if placeholder.form == "spread" and template.whole is None:
            raise TemplateInvalid(f"{text!r}: {{{placeholder.name}*}} must be a whole element of argv")
        if placeholder.is_argument:
            check_placeholder(placeholder, schema, may_be_missing=may_be_missing)
    return template


def _fixed(text: str, field: str) -> Template:
    template = Template.parse(text)
    if template.holds_arguments:
        raise TemplateInvalid(f"{field}: must not depend on arguments")
    return template


def _path_limits(form: CommandForm, argv: list[Template | tuple[Template, ...]]) -> dict[str, Template]:
    used = {
        placeholder.name
        for element in argv
        for template in _group(element)
        for placeholder in template.placeholders
        if placeholder.form != "json"
    }
    used |= {
        placeholder.name
        for value in form.environment.values()
        if isinstance(value, str)
        for placeholder in Template.parse(value).placeholders
    }
    for name in form.paths:
        if name not in used:
            raise TemplateInvalid(f"paths: {name!r} is no placeholder of argv; write args.NAME")
    return {name: _fixed(directory, "paths") for name, directory in form.paths.items()}


def _group(element: Template | tuple[Template, ...]) -> tuple[Template, ...]:
    return element if isinstance(element, tuple) else (element,)


def _refuse_values_in_code(templates: list[Template]) -> None:
    """`sh -c "rm {args.x}"` would make a program of the value. The interpreter may come second: `env sh -c ...`."""
    interpreter, code, others = "", _NEVER, _NEVER
    code_follows = other_follows = False
    for template in _as_env_splits_them(templates):
        begins = template.parts[0] if template.parts and isinstance(template.parts[0], str) else ""
        if template.holds_arguments:
            if code_follows or (begins and code.fullmatch(begins)):
                raise TemplateInvalid(
                    f"argv: {template.source!r} puts a value into code for {interpreter}: hand it over as an argument "
                    "of its own"
                )
            other_follows = False
        elif other_follows:
            # What the option before is about: `-o pipefail`. The code may come after it.
            other_follows = False
        elif (found := _interpreter(template)) is not None:
            interpreter, code, others = found
            code_follows = False
        elif code.fullmatch(begins):
            code_follows = True
            other_follows = others.fullmatch(begins) is not None
        elif others.fullmatch(begins):
            other_follows = True
        elif not begins.startswith(("-", "+")):
            # A script, or the code: what follows are its options, not the interpreter's.
            interpreter, code, others = "", _NEVER, _NEVER
            code_follows = False


def _as_env_splits_them(templates: list[Template]) -> list[Template]:
    """`env -S "sh -c" ...` as the arguments that env makes of it."""
    words: list[Template] = []
    behind_env = split_next = False
    for template in templates:
        literal = template.literal or ""
        if split_next:
            words.extend(_split(literal) or [template])
            split_next = False
        elif behind_env and (match := _SPLIT_BY_ENV.fullmatch(literal)) is not None:
            attached = match[1] or match[2] or ""
            split_next = not attached
            words.extend(_split(attached) or [template])
        else:
            words.append(template)
            behind_env = behind_env or literal.rsplit("/", 1)[-1] == "env"
    return words


def _split(text: str) -> list[Template]:
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    return [Template(source=word, parts=(word,)) for word in words]


def _interpreter(template: Template) -> tuple[str, re.Pattern[str], re.Pattern[str]] | None:
    """Its name, and its options: those that code follows, those that something else follows."""
    name = (template.literal or "").rsplit("/", 1)[-1].removesuffix(".exe")
    name = _VERSION.sub("", name)
    if template.whole is not None and template.whole.constant == "python":
        name = "python"
    return next(((name, code, others) for names, code, others in _INTERPRETERS if names.fullmatch(name)), None)


def _quoted(text: str) -> str:
    return repr(truncate(text, 80))
