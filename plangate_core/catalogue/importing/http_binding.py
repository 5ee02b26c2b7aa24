"""The `http:` binding of an OpenAPI operation, or why there is none: half a binding would do what nobody approved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from plangate_core.catalogue.argument_schema import named_types
from plangate_core.catalogue.binding_forms import HEADER_NAME, RESERVED_HEADERS
from plangate_core.catalogue.importing.schemas import Changes, followed

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_SERVER = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(?:/[A-Za-z0-9/:@!$&'()*+,;=~%._-]*)?")
_PATH_PARAMETER = re.compile(r"\{([^{}]*)\}")
_ARGUMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SAFE_IN_PATH = "/:@!$&'()*+,;=~%?"


def server_of(document: Mapping[str, Any], *holders: Mapping[str, Any]) -> str:
    """The URL that an operation's paths begin with, as it is written.

    holders: the operation and its path, whose own servers come before the document's.
    """
    if "swagger" in document:
        schemes = _first_list("schemes", *holders, document)
        scheme = "http" if "http" in schemes and "https" not in schemes else "https"
        url = f"{scheme}://{document.get('host', '')}{document.get('basePath', '')}"
    else:
        first = next(
            (server for server in _first_list("servers", *holders, document) if isinstance(server, Mapping)), {}
        )
        url = str(first.get("url", ""))
        variables = first.get("variables")
        for name, variable in variables.items() if isinstance(variables, Mapping) else ():
            if isinstance(variable, Mapping):
                url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
    return url


def is_server(url: str) -> bool:
    """Whether it names scheme and host, and a path at most."""
    return _SERVER.fullmatch(url) is not None


def _first_list(field: str, *holders: Mapping[str, Any]) -> list[Any]:
    return next((holder[field] for holder in holders if isinstance(holder.get(field), list)), [])


class HttpBindingDraft:
    """Collects what a request is made of, and what of it a binding cannot say.

    document: what references of schemas lead into.
    """

    def __init__(self, method: str, path: str, server: str, document: Mapping[str, Any]) -> None:
        self._method = method.upper()
        self._path = path
        self._server = server.rstrip("/")
        self._document = document
        self._in_path: dict[str, str] = {}
        self._query: dict[str, str] = {}
        self._headers: dict[str, str] = {}
        self._body: Any = None
        self._faults = Changes()
        if not is_server(server):
            self.refuse("no server is named with its host: give it by --server")
        if self._method not in _METHODS:
            self.refuse(f"{self._method} is none of a binding's methods")

    def refuse(self, reason: str, argument: str = "") -> None:
        """There is something that a binding cannot say."""
        self._faults.add(f"there is no http: binding: {reason}", argument)

    def add_parameter(self, parameter: Mapping[str, Any], argument: str, schema: Mapping[str, Any]) -> None:
        """Send an argument as a parameter of path, query or headers."""
        place, name = parameter.get("in"), str(parameter["name"])
        placeholder = self._placeholder(parameter, argument, schema)
        if place == "path":
            self._in_path[name] = placeholder
        elif place == "query":
            self._query[name] = placeholder
        elif place == "header" and HEADER_NAME.fullmatch(name) and name.lower() not in RESERVED_HEADERS:
            self._headers[name] = placeholder
        else:
            self.refuse(f"it is sent in {place}", argument)

    def set_body(self, kind: str, body: Any) -> None:
        """Send a body. body: the name of the argument that is all of it, or fields and their arguments' names."""
        media_type = kind.partition(";")[0].strip().lower()
        if media_type.endswith("+json"):
            self._headers["Content-Type"] = media_type
        elif media_type != "application/json":
            self.refuse(f"the body is sent as {kind}")
        if self._method in ("GET", "HEAD"):
            self.refuse(f"a {self._method} request has no body")
        for argument in body.values() if isinstance(body, dict) else (body,):
            self._check_name(argument)
        if isinstance(body, dict):
            self._body = {field: f"{{args.{argument}}}" for field, argument in body.items()}
        else:
            self._body = f"{{args.{body}}}"

    def finished(self, changes: Changes) -> dict[str, Any] | None:
        """The binding as a catalogue has it; None, with the reasons among the changes, where there is none."""
        pieces = _PATH_PARAMETER.split(self._path)
        names = pieces[1::2]
        for name in {*names} ^ self._in_path.keys():
            self.refuse("a parameter stands in the path or among the parameters only", name)
        if "#" in self._path:
            self.refuse("the path has a fragment")
        if self._faults:
            changes.update(self._faults)
            return None
        for index, piece in enumerate(pieces):
            pieces[index] = self._in_path[piece] if index % 2 else quote(piece, safe=_SAFE_IN_PATH)
        binding: dict[str, Any] = {"method": self._method, "url": self._server + "".join(pieces)}
        further = {"query": self._query, "headers": self._headers, "body": self._body}
        binding.update((field, value) for field, value in further.items() if value)
        changes.add(f"http: sends to {self._server}", "")
        return binding

    def _placeholder(self, parameter: Mapping[str, Any], argument: str, schema: Mapping[str, Any]) -> str:
        self._check_name(argument)
        if isinstance(content := parameter.get("content"), Mapping):
            if not any("json" in str(kind) for kind in content):
                self.refuse("a parameter is not sent as JSON", argument)
            return f"{{args.{argument}:json}}"
        whole = followed(schema, self._document)
        types = named_types(whole)
        if parameter.get("in") == "path" and parameter.get("style", "simple") != "simple":
            self.refuse(f"the style {parameter['style']!r} of a path", argument)
        if "object" in types:
            self.refuse("an object is a parameter", argument)
        if "array" not in types:
            return f"{{args.{argument}}}"
        items = followed(whole.get("items"), self._document)
        if not _is_repeated(parameter) or named_types(items) & {"array", "object"}:
            self.refuse("a list is a parameter otherwise than repeated in the query", argument)
        return f"{{args.{argument}*}}"

    def _check_name(self, argument: str) -> None:
        if not _ARGUMENT_NAME.fullmatch(argument):
            self.refuse("a placeholder cannot name the argument", argument)


def _is_repeated(parameter: Mapping[str, Any]) -> bool:
    """Whether a list is sent as name=a&name=b. Swagger 2.0 has no schema in such a parameter, and another default."""
    if parameter.get("in") != "query":
        return False
    if "schema" not in parameter:
        return parameter.get("collectionFormat") == "multi"
    return parameter.get("style", "form") == "form" and parameter.get("explode", True) is not False
