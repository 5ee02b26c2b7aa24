"""Templates: every text is escaped twice, for HTML and for readers.

Texts come from requesters, models and executors. Whatever a template prints goes through `visible`, which writes
look-alike letters, direction marks and control characters as escapes, and then through HTML escaping.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plangate.plan.v1 import plan_pb2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from plangate_client.outlook.facts import fact_line
from plangate_core.contract.struct_codec import StructRefused, struct_to_json
from plangate_core.text.printable import visible
from plangate_inbox.views import times
from plangate_inbox.views.arguments import value_text
from plangate_inbox.web.sessions import Session


class Editable(str):
    """A text for a field that its reader edits: escaped for HTML only, because it comes back as it was shown."""

    __slots__ = ()


def shown(value: Any) -> Any:
    """What templates print: texts with everything visible that would not show as itself."""
    if isinstance(value, Markup | Editable) or not isinstance(value, str):
        return value
    return visible(value, newlines=True)


def render(
    request: Request, template: str, context: Mapping[str, Any] | None = None, *, status: int = 200
) -> HTMLResponse:
    """A whole page. Templates see `session` (or None), `path`, `now`, and what `context` holds."""
    session: Session | None = getattr(request.state, "session", None)
    text = _TEMPLATES.get_template(template).render(
        {"session": session, "path": request.url.path, "now": datetime.now(UTC), **(context or {})}
    )
    return HTMLResponse(text, status_code=status)


def context_items(plan: plan_pb2.Plan) -> list[tuple[str, str]]:
    """The facts that came with a request: name and value as text."""
    try:
        context = struct_to_json(plan.context, "context", byte_limit=1 << 20, depth_limit=100)
    except StructRefused as error:
        return [("", f"<{error}>")]
    return [(name, value_text(value)) for name, value in context.items()]


def _static_version() -> str:
    """Changes when a static file does: browsers may then keep each for ever."""
    digest = hashlib.sha256()
    for file in sorted(files("plangate_inbox").joinpath("static").iterdir(), key=lambda file: file.name):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


_TEMPLATES = Environment(
    loader=PackageLoader("plangate_inbox"),
    autoescape=True,
    finalize=shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(ago=times.ago, exact=times.exact, iso=times.iso, fact_line=fact_line)
_TEMPLATES.globals.update(static_version=_static_version(), context_items=context_items, value_text=value_text, zip=zip)
