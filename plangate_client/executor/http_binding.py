"""An HTTP binding: from a URL, headers and a body with placeholders to exactly the request that its author meant.

- scheme, host and port hold no values;
- in path and query every value is percent-encoded as one component, and one that would be an empty, "." or ".." path
  segment is refused: a value can never become another path, parameter or host;
- a parameter of `query:` goes away where its argument is missing, and is repeated for each element of a list;
- headers hold no control characters and nothing outside ASCII;
- the body is JSON: a text that is only a placeholder becomes the value itself, whatever its type, and goes away with
  its key where the argument is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

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
from plangate_core.catalogue.binding_forms import HEADER_NAME, RESERVED_HEADERS, EnvironmentReference, HttpForm
from plangate_core.contract.struct_codec import JsonValue

_AUTHORITY = re.compile(r"https?://[^/?#]+")
# What the client sends. Servers take less, and say so.
_LONGEST_URL = 65_536
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None


@dataclass(frozen=True, slots=True)
class HttpBinding:
    """One action's HTTP request."""

    form: HttpForm
    url: Template
    query: Mapping[str, Template]
    headers: Mapping[str, Template | EnvironmentReference]

    @classmethod
    def compile(cls, form: HttpForm, schema: ArgumentSchema) -> Self:
        """Check what the author wrote. Raises TemplateInvalid."""
        authority = _AUTHORITY.match(form.url)
        if authority is None or "{" in authority[0] or "}" in authority[0]:
            raise TemplateInvalid("url: scheme and host must not depend on arguments")
        if "@" in authority[0]:
            raise TemplateInvalid("url: credentials belong into headers: {Authorization: {env: NAME}}")
        if "#" in form.url:
            raise TemplateInvalid("url: a fragment is never sent")
        if any(not "\x20" < character < "\x7f" for character in form.url):
            raise TemplateInvalid("url: write characters outside of ASCII, spaces and controls percent-encoded")
        try:
            _ = urlsplit(authority[0]).port
        except ValueError as error:
            raise TemplateInvalid(f"url: {error}") from error
        url = _checked(form.url, schema, may_be_missing=False)
        query = {
            name: _checked(value, schema, may_be_missing=True, may_be_repeated=True)
            for name, value in form.query.items()
        }
        headers: dict[str, Template | EnvironmentReference] = {}
        for name, value in form.headers.items():
            if not HEADER_NAME.fullmatch(name) or name.lower() in RESERVED_HEADERS:
                raise TemplateInvalid(f"headers: {name!r} cannot be set")
            if isinstance(value, EnvironmentReference):
                headers[name] = value
            else:
                headers[name] = _checked(value, schema, may_be_missing=True)
        if form.body is not None and form.method in ("GET", "HEAD"):
            raise TemplateInvalid(f"body: a {form.method} request has none")
        _check_body(form.body, schema)
        return cls(form=form, url=url, query=query, headers=headers)

    @property
    def referenced_environment(self) -> frozenset[str]:
        """Variables that must be set where the executor runs."""
        return frozenset(value.env for value in self.headers.values() if isinstance(value, EnvironmentReference))

    def render(self, values: Values, process_environment: Mapping[str, str]) -> HttpRequest:
        """Put the values in. Raises ArgumentMissing, ArgumentRefused."""
        headers: dict[str, str] = {}
        content = None
        if self.form.body is not None:
            try:
                content = json.dumps(_filled(self.form.body, values), ensure_ascii=False).encode()
                headers["Content-Type"] = "application/json"
            except ArgumentMissing:
                # A body that is one argument goes away with it; a text with a gap is refused.
                if _value_placeholder(Template.parse(self.form.body)) is None:
                    raise
        for name, value in self.headers.items():
            if isinstance(value, EnvironmentReference):
                text = value.prefix + process_environment[value.env]
            else:
                try:
                    text = value.fill(values)
                except ArgumentMissing:
                    continue
            if not _HEADER_VALUE.fullmatch(text):
                # Never quote the value: it may be the secret.
                raise ArgumentRefused(f"the header {name} would hold a control character or one outside of ASCII")
            headers[name] = text.strip()
        return HttpRequest(self.form.method, self._filled_url(values), headers, content)

    def _filled_url(self, values: Values) -> str:
        pieces: list[str] = []
        for part in self.url.parts:
            pieces.append(part if isinstance(part, str) else quote(values.text(part), safe=""))
        url = "".join(pieces)
        authority = _AUTHORITY.match(url)
        assert authority is not None
        path = url[authority.end() :].partition("?")[0]
        template_path = self.url.source[authority.end() :].partition("?")[0]
        # Values hold no slash any more, so the segments of both stand side by side.
        for segment, written in zip(path.split("/"), template_path.split("/"), strict=True):
            if segment in ("", ".", "..") and "{" in written:
                raise ArgumentRefused(f"{written} would make the path segment {segment!r}")
        if parameters := list(self._parameters(values)):
            url += ("&" if "?" in url else "?") + urlencode(parameters, safe="", quote_via=quote)
        if len(url) > _LONGEST_URL:
            raise ArgumentRefused(f"the URL would have {len(url)} characters, more than {_LONGEST_URL}")
        return url

    def _parameters(self, values: Values) -> Iterator[tuple[str, str]]:
        """Names and values of `query:`, without those whose argument is missing."""
        for name, template in self.query.items():
            whole = template.whole
            try:
                if whole is not None and whole.form == "spread":
                    texts = values.elements(whole)
                else:
                    texts = [template.fill(values)]
            except ArgumentMissing:
                continue
            for text in texts:
                yield name, text


def _checked(text: str, schema: ArgumentSchema, *, may_be_missing: bool, may_be_repeated: bool = False) -> Template:
    template = Template.parse(text)
    for placeholder in template.placeholders:
        if placeholder.form == "spread" and not (may_be_repeated and template.whole):
            raise TemplateInvalid(f"{text!r}: {{{placeholder.name}*}} is for a whole element of argv, or of query")
        if placeholder.constant in ("python", "catalogue_directory"):
            raise TemplateInvalid(f"{text!r}: {{{placeholder.constant}}} is for commands")
        if placeholder.is_argument:
            check_placeholder(placeholder, schema, may_be_missing=may_be_missing)
    return template


def _check_body(body: Any, schema: ArgumentSchema) -> None:
    if isinstance(body, str):
        template = Template.parse(body)
        if _value_placeholder(template) is None:
            _checked(body, schema, may_be_missing=True)
    elif isinstance(body, dict):
        for key, value in body.items():
            if not isinstance(key, str):
                raise TemplateInvalid(f"body: the key {key!r} must be text")
            _check_body(value, schema)
    elif isinstance(body, list):
        for element in body:
            _check_body(element, schema)


def _value_placeholder(template: Template) -> Placeholder | None:
    """The argument whose value, not text, stands here."""
    whole = template.whole
    return whole if whole is not None and whole.is_argument and whole.form == "text" else None


def _filled(body: JsonValue, values: Values) -> JsonValue:
    if isinstance(body, str):
        template = Template.parse(body)
        placeholder = _value_placeholder(template)
        return template.fill(values) if placeholder is None else values.look_up(placeholder, may_be_null=True)
    if isinstance(body, dict):
        members: dict[str, JsonValue] = {}
        for key, member in body.items():
            try:
                members[key] = _filled(member, values)
            except ArgumentMissing:
                continue
        return members
    if isinstance(body, list):
        elements: list[JsonValue] = []
        for element in body:
            try:
                elements.append(_filled(element, values))
            except ArgumentMissing:
                continue
        return elements
    return body
