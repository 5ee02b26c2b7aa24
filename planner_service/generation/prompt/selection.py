"""Which actions of a large catalogue a model is shown, and how much of each.

A catalogue that fits is shown whole: then the opening of every prompt is the same, and caches hit. From a larger one
the actions that share most words with the request, rare words counting most, are shown whole; the others shortened to
their first words and required arguments, or to their names, as the room allows.

This is plain word matching: in a catalogue of hundreds, descriptions should hold the words that people use. Where a
request is in another language than the catalogue, the right action is among those that are shown shortened.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from plangate_core.catalogue.catalogue import Action, Catalogue
from planner_service.generation.prompt.catalogue_text import action_text, brief, named, without_descriptions
from planner_service.generation.settings import GenerationSettings
from planner_service.wording.words import stems

_NAME_WEIGHT = 2.0
_CUTS_KEPT = 32

_LEVELS: tuple[Callable[[Action], Action], ...] = (lambda action: action, without_descriptions, brief, named)
_WHOLE, _WITHOUT_DESCRIPTIONS, _BRIEF, _NAMED = range(len(_LEVELS))


@dataclass(frozen=True, slots=True)
class CatalogueBudget:
    """How many characters of actions a model is shown: a catalogue of whole_characters as it is, of a larger one
    cut_characters, chosen for each request."""

    whole_characters: int
    cut_characters: int


HOSTED_ROOM = CatalogueBudget(120_000, 120_000)
"""About 30,000 tokens of text, and the schema of the reply about as many again."""
SERVER_ROOM = CatalogueBudget(48_000, 48_000)
"""For servers whose models and contexts are not known here."""
CPU_ROOM = CatalogueBudget(12_000, 6_000)
"""About 3,000 tokens, read once and then cached; of a larger catalogue 1,500, read anew for every request."""

_ROOMS = {
    "embedded": CPU_ROOM,
    "ollama": CPU_ROOM,
    "llamacpp": CPU_ROOM,
    "lmstudio": CPU_ROOM,
    "vllm": SERVER_ROOM,
}
"""By provider; all others are hosted."""


def catalogue_room(model: str, settings: GenerationSettings) -> CatalogueBudget:
    """How much of a catalogue a model is shown: as the settings say, else as its provider's models read."""
    if settings.catalogue_characters:
        return CatalogueBudget(settings.catalogue_characters, settings.catalogue_characters)
    prefix = model.partition("/")[0]
    own_server = settings.base_url and prefix == settings.model.partition("/")[0]
    return _ROOMS.get(prefix, SERVER_ROOM if own_server else HOSTED_ROOM)


def shown_actions(catalogue: Catalogue, prompt: str, context: Mapping[str, Any], room: CatalogueBudget) -> Catalogue:
    """The catalogue itself, or one with fewer or shortened actions, in the same order.

    The same for the same request, and the same object while it is remembered.
    """
    if not is_cut(catalogue, room):
        return catalogue
    return _cut(catalogue, tuple(_chosen(catalogue, prompt, context, room.cut_characters)))


def is_cut(catalogue: Catalogue, room: CatalogueBudget) -> bool:
    """Whether a model with this room is shown a part of the catalogue only."""
    return catalogue_characters(catalogue) > room.whole_characters


def catalogue_characters(catalogue: Catalogue) -> int:
    """How many characters all actions have as a model reads them."""
    return sum(_sizes(catalogue)[_WHOLE])


def _chosen(catalogue: Catalogue, prompt: str, context: Mapping[str, Any], room: int) -> list[tuple[int, int]]:
    """Positions of the actions that are shown, in the order of the catalogue, each with its level."""
    cut = _Cut(_sizes(catalogue), _ranked(catalogue, prompt, context), room)
    if cut.all_at(_BRIEF) <= 3 * room // 4:
        cut.raise_to(_BRIEF, room)
    elif cut.all_at(_NAMED) <= room // 2:
        cut.raise_to(_NAMED, room)
        cut.raise_to(_WHOLE, cut.left // 2)
    else:
        cut.raise_to(_WHOLE, room // 2)
        cut.raise_to(_BRIEF, cut.left // 2)
        cut.raise_to(_NAMED, cut.left)
    cut.raise_to(_WHOLE, cut.left)
    cut.raise_to(_BRIEF, cut.left)
    return sorted(cut.levels.items())


class _Cut:
    """Which actions are shown at which level, and the characters that are `left`."""

    def __init__(self, sizes: Sequence[Sequence[int]], ranked: Sequence[int], room: int) -> None:
        self._sizes = sizes
        self._ranked = ranked
        self.left = room
        self.levels: dict[int, int] = {}

    def all_at(self, level: int) -> int:
        """Characters of all actions at a level."""
        return sum(self._sizes[level])

    def raise_to(self, level: int, share: int) -> None:
        """Show actions at a level, or the next one that fits, those that fit the request best first, within a share."""
        for index in self._ranked:
            present = self.levels.get(index, len(_LEVELS))
            shown = self._sizes[present][index] if index in self.levels else 0
            # Of a large one the descriptions are left out before it is.
            for richer in range(level, min(present, _BRIEF if level == _WHOLE else level + 1)):
                more = self._sizes[richer][index] - shown
                if more <= share:
                    self.levels[index] = richer
                    share -= more
                    self.left -= more
                    break


def _ranked(catalogue: Catalogue, prompt: str, context: Mapping[str, Any]) -> list[int]:
    likeness = [0.0] * len(catalogue.actions)
    weights = _weights(catalogue)
    # In order: sums of floats depend on it, and so would which of two that are alike comes first.
    for stem in sorted(set(stems(f"{prompt} {json.dumps(context, ensure_ascii=False)}"))):
        for index, weight in weights.get(stem, ()):
            likeness[index] += weight
    return sorted(range(len(likeness)), key=lambda index: (-likeness[index], index))


@lru_cache(maxsize=8)
def _versions(catalogue: Catalogue) -> tuple[tuple[Action, ...], ...]:
    """The actions at each level."""
    return tuple(tuple(shortened(action) for action in catalogue.actions) for shortened in _LEVELS)


@lru_cache(maxsize=8)
def _sizes(catalogue: Catalogue) -> tuple[tuple[int, ...], ...]:
    """Characters of the actions as they are read, at each level."""
    return tuple(tuple(len(action_text(action)) + 1 for action in version) for version in _versions(catalogue))


@lru_cache(maxsize=_CUTS_KEPT)
def _cut(catalogue: Catalogue, chosen: tuple[tuple[int, int], ...]) -> Catalogue:
    versions = _versions(catalogue)
    actions = tuple(versions[level][index] for index, level in chosen)
    return catalogue.reduced_to(actions, "".join(str(level) for _, level in chosen))


@lru_cache(maxsize=8)
def _weights(catalogue: Catalogue) -> Mapping[str, Sequence[tuple[int, float]]]:
    """For each word the positions of the actions that have it, and what it counts for each."""
    words = [set(stems(action_text(action))) for action in catalogue.actions]
    known = Counter(stem for each in words for stem in each)
    weights: dict[str, list[tuple[int, float]]] = {}
    for index, (action, each) in enumerate(zip(catalogue.actions, words, strict=True)):
        named = set(stems(action.name))
        for stem in each:
            weight = math.log(1 + len(words) / known[stem]) * (_NAME_WEIGHT if stem in named else 1.0)
            weights.setdefault(stem, []).append((index, weight))
    return weights
