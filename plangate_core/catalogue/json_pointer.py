"""JSON pointers as URI fragments, `#/properties/a~1b` (RFC 6901): how a `$ref` names a part of its document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote


def resolve(root: Any, reference: str) -> Any:
    """What the fragment names in the document. None when nothing is there, and for anchors and other documents."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    target = root
    for raw in reference[1:].split("/")[1:]:
        part = unquote(raw).replace("~1", "/").replace("~0", "~")
        if isinstance(target, Mapping) and part in target:
            target = target[part]
        elif isinstance(target, list) and part.isdecimal() and int(part) < len(target):
            target = target[int(part)]
        else:
            return None
    return target


def pointer(path: Iterable[str | int]) -> str:
    """The fragment that names what is at the path."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
