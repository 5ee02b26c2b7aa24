"""Which actions of a large catalogue a model is shown, and how much of each.

A catalogue that fits is shown whole: then the opening of every prompt is the same, and caches hit. From a larger one
the actions that share most words with the request, rare words counting most, are shown whole while half of the room
lasts; the others follow shortened, in the same order, while the rest lasts. Where all fit shortened, all are shown.

This is plain word matching: in a catalogue of hundreds, descriptions should hold the words that people use. What is
shown shortened may be the right action all the same, where a request is in another language than the catalogue.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from plangate_core.catalogue.catalogue import Action, Catalogue
from planner_service.generation.prompt.catalogue_text import action_text, brief, without_descriptions
from planner_service.generation.settings import CatalogueRoom
from planner_service.wording.words import stems

_NAME_WEIGHT = 2.0
_CUTS_KEPT = 32

_LEVELS: tuple[Callable[[Action], Action], ...] = (lambda action: action, without_descriptions, brief)
_WHOLE, _WITHOUT_DESCRIPTIONS, _BRIEF = range(len(_LEVELS))


def shown_actions(catalogue: Catalogue, prompt: str, context: Mapping[str, Any], room: CatalogueRoom) -> Catalogue:
    """The catalogue itself, or one with fewer or shortened actions, in the same order.

    The same for the same request, and the same object while it is remembered.
    """
    whole = _sizes(catalogue)[_WHOLE]
    if sum(whole) <= room.whole_characters:
        return catalogue
    return _cut(catalogue, tuple(_chosen(catalogue, prompt, context, room.cut_characters)))


def is_cut(catalogue: Catalogue, room: CatalogueRoom) -> bool:
    """Whether a model with this room is shown a part of the catalogue only."""
    return catalogue_characters(catalogue) > room.whole_characters


def catalogue_characters(catalogue: Catalogue) -> int:
    """How many characters all actions have as a model reads them."""
    return sum(_sizes(catalogue)[_WHOLE])


def _chosen(catalogue: Catalogue, prompt: str, context: Mapping[str, Any], room: int) -> list[tuple[int, int]]:
    """Positions of the actions that are shown, in the order of the catalogue, each with its level."""
    sizes = _sizes(catalogue)
    ranked = _ranked(catalogue, prompt, context)
    levels: dict[int, int] = {}
    briefly = sum(sizes[_BRIEF])
    # Where all can be shown shortened, all are.
    share = room - briefly if briefly <= 3 * room // 4 else room // 2
    left = share
    for index in ranked:
        # Of what fits best more is shown, but never so much that little else is.
        level = next((level for level in (_WHOLE, _WITHOUT_DESCRIPTIONS) if sizes[level][index] <= left), None)
        if level is None:
            break
        levels[index] = level
        left -= sizes[level][index]
    left += room - share
    for index in ranked:
        if index not in levels and sizes[_BRIEF][index] <= left:
            levels[index] = _BRIEF
            left -= sizes[_BRIEF][index]
    for index in ranked:
        # What room is left, when all are shown.
        for level in (_WHOLE, _WITHOUT_DESCRIPTIONS):
            more = sizes[level][index] - sizes[levels[index]][index] if index in levels else left + 1
            if level < levels.get(index, 0) and more <= left:
                levels[index] = level
                left -= more
    return sorted(levels.items())


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
