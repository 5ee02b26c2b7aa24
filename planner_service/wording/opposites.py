"""Jobs that do the opposite of what the request says: a port opened that was to be closed.

A catalogue often has an action but not its opposite. A small model then takes what there is, and is sure of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from plangate_core.catalogue.catalogue import Action
from planner_service.wording.words import words

_PAIRS = """
    open/close grant/revoke give/revoke start/stop start/end begin/end enable/disable activate/deactivate create/delete
    create/remove create/destroy create/drop make/delete add/remove add/delete insert/delete lock/unlock mount/unmount
    attach/detach block/unblock block/allow allow/deny allow/forbid permit/forbid mute/unmute subscribe/unsubscribe
    install/uninstall install/remove deploy/undeploy assign/unassign increase/decrease increase/reduce increase/lower
    raise/lower extend/shorten expand/shrink encrypt/decrypt connect/disconnect register/unregister register/deregister
    publish/unpublish pause/resume suspend/resume suspend/reactivate archive/unarchive approve/reject accept/reject
    accept/decline buy/sell deposit/withdraw upload/download import/export follow/unfollow show/hide book/cancel
    reserve/cancel schedule/cancel order/cancel hire/fire invite/disinvite join/leave load/unload pin/unpin tag/untag
    freeze/unfreeze ban/unban quarantine/release cordon/uncordon
"""


def _read_pairs() -> dict[str, set[str]]:
    opposites: dict[str, set[str]] = {}
    for pair in _PAIRS.split():
        one, other = pair.split("/")
        opposites.setdefault(one, set()).add(other)
        opposites.setdefault(other, set()).add(one)
    return opposites


def _inflected(verb: str) -> Iterator[str]:
    stem = verb.removesuffix("e")
    doubled = verb + verb[-1]
    yield from (verb, f"{verb}s", f"{verb}es", f"{verb}d", f"{verb}ed", f"{verb}ing")
    yield from (f"{stem}ing", f"{doubled}ing", f"{doubled}ed")


_OPPOSITES = _read_pairs()
_VERBS = {form: verb for verb in _OPPOSITES for form in _inflected(verb)}
"""The verb that each form is of."""
_REACH = 6
"""In how many words after the verb what it is about is looked for: "revoke tomas's access"."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_SENTENCE_END = re.compile(r"[.!?;\n]\s")
_QUOTED = re.compile(r"\"[^\"\n]*\"|(?<!\w)'[^'\n]*'(?!\w)|“[^”\n]*”|`[^`\n]*`")


def opposite_asked(prompt: str, action: Action) -> str:
    """What the request says instead, such as "close port" for open_port; empty when it says nothing of the kind.

    Only where the request has the opposite verb with the rest of the action's name soon after it, and not the action's
    own verb at all; and where no switch among the arguments may turn the action round.
    """
    read = _read_name(action.name)
    if read is None or _has_switch(action.parameters):
        return ""
    verb, things = read
    sentences = _sentences(prompt)
    if any(_VERBS.get(word) == verb for sentence in sentences for word in sentence):
        return ""
    for sentence in sentences:
        for position, word in enumerate(sentence):
            if _VERBS.get(word) in _OPPOSITES[verb]:
                after = sentence[position + 1 : position + 1 + _REACH]
                if all(any(_is_same_thing(other, thing) for other in after) for thing in things):
                    return f"{word} {' '.join(things)}"
    return ""


@lru_cache(maxsize=16)
def _sentences(prompt: str) -> list[list[str]]:
    """Each one's words in small letters, but for what is in quotes. Kept for the next job of the same plan."""
    return [
        [word.casefold() for word in _WORD.findall(sentence)]
        for sentence in _SENTENCE_END.split(_QUOTED.sub(" ", prompt))
    ]


@lru_cache(maxsize=1024)
def _read_name(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The verb of an action's name and what it is about, if that is one verb that has an opposite.

    Kept for all plans: the same names come again and again.
    """
    named = [word for word in words(name.rpartition(".")[2]) if not word.isdigit()]
    verbs = [word for word in named if word in _VERBS]
    things = tuple(word for word in named if word not in verbs)
    return (_VERBS[verbs[0]], things) if len(verbs) == 1 and things else None


def _has_switch(schema: Mapping[str, Any]) -> bool:
    """Whether an argument says yes or no, or names one of our verbs: then the action may do either."""
    properties = schema.get("properties")
    for argument in properties.values() if isinstance(properties, Mapping) else ():
        if not isinstance(argument, Mapping) or argument.get("type") == "boolean":
            return True
        values = argument.get("enum")
        if isinstance(values, list) and any(isinstance(value, str) and value.casefold() in _VERBS for value in values):
            return True
    return False


def _is_same_thing(word: str, thing: str) -> bool:
    """ports and port, user's and user."""
    return word == thing or (word.startswith(thing) and word[len(thing) :] in ("s", "es", "'s"))
