"""How an action of the catalogue binds a command or an HTTP request: the fields a person writes.

docs/reference/bindings.md describes them. What a form says is checked for meaning in command_binding and http_binding.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from plangate_core.catalogue.document import Form

# Both outputs and their escapes must fit into the 64 KiB of a result.
OUTPUT_LIMIT_BYTES = 32 * 1024
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# The client sets these from the request itself.
RESERVED_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})

_Text = Annotated[str, StringConstraints(max_length=4096)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_Seconds = Annotated[float, Field(gt=0, le=86_400, strict=False)]


class EnvironmentReference(Form):
    """A value that stays out of the catalogue: `{env: API_TOKEN, prefix: "Bearer "}`."""

    env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    prefix: _Text = ""


class CommandForm(Form):
    """`command:` of an action."""

    argv: Annotated[
        list[_Text | Annotated[list[_Text], Field(min_length=1, max_length=32)]], Field(min_length=1, max_length=256)
    ]
    timeout_seconds: _Seconds = 60.0
    working_directory: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = "."
    output_limit_bytes: Annotated[int, Field(gt=0, le=OUTPUT_LIMIT_BYTES)] = 16 * 1024
    environment: dict[_Name, _Text | EnvironmentReference] = Field(default_factory=dict)
    paths: dict[_Name, _Text] = Field(default_factory=dict)
    stdin: Literal["json"] | None = None
    retry_on_exit: Annotated[list[Annotated[int, Field(ge=1, le=255)]], Field(max_length=255)] = Field(
        default_factory=list
    )


class HttpForm(Form):
    """`http:` of an action."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    url: Annotated[str, StringConstraints(pattern=r"^https?://", max_length=4096)]
    query: dict[_Name, _Text] = Field(default_factory=dict)
    headers: dict[_Name, _Text | EnvironmentReference] = Field(default_factory=dict)
    body: Any = None
    timeout_seconds: _Seconds = 30.0
    output_limit_bytes: Annotated[int, Field(gt=0, le=OUTPUT_LIMIT_BYTES)] = 16 * 1024
    retry_on_status: Annotated[list[Annotated[int, Field(ge=400, le=599)]], Field(max_length=200)] = Field(
        default_factory=list
    )


class ReconcileForm(Form):
    """`reconcile:` of an action: a look-up that says whether it was carried out. One of the two."""

    command: CommandForm | None = None
    http: HttpForm | None = None
