"""Which actions of a large catalogue a model is shown.

A catalogue that fits is shown whole: then the opening of every prompt is the same, and caches hit. From a larger one
the actions are taken that share most words with the request, rare words counting most, until the room is full. This
is plain word matching: in a catalogue of hundreds, descriptions should hold the words that people use.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from plangate_core.catalogue.catalogue import Catalogue
from planner_service.generation.prompt.catalogue_text import action_text
from planner_service.wording.words import stems

MAX_WHOLE_CHARACTERS = 12_000
"""About 3,000 tokens: read once, then cached."""
MAX_SELECTED_CHARACTERS = 6_000
"""About 1,500 tokens: read anew for every request, which takes a CPU seconds."""
_NAME_WEIGHT = 2.0


def shown_actions(catalogue: Catalogue, prompt: str, context: Mapping[str, Any]) -> Catalogue:
    """The catalogue itself, or one with fewer actions, in the same order. The same for the same request."""
    texts = _texts(catalogue)
    if sum(map(len, texts)) <= MAX_WHOLE_CHARACTERS:
        return catalogue
    likeness = [0.0] * len(texts)
    weights = _weights(catalogue)
    # In order: sums of floats depend on it, and so would which of two that are alike comes first.
    for stem in sorted(set(stems(f"{prompt} {json.dumps(context, ensure_ascii=False)}"))):
        for index, weight in weights.get(stem, ()):
            likeness[index] += weight
    room = MAX_SELECTED_CHARACTERS
    chosen: list[int] = []
    for index in sorted(range(len(texts)), key=lambda index: (-likeness[index], index)):
        if len(texts[index]) <= room:
            room -= len(texts[index])
            chosen.append(index)
    return _reduced(catalogue, tuple(sorted(chosen)))


@lru_cache(maxsize=64)
def _reduced(catalogue: Catalogue, chosen: tuple[int, ...]) -> Catalogue:
    """The same object for the same choice: caches of what is made from a catalogue are keyed by it."""
    return catalogue.reduced_to(tuple(catalogue.actions[index] for index in chosen))


@lru_cache(maxsize=8)
def _texts(catalogue: Catalogue) -> tuple[str, ...]:
    return tuple(action_text(action) for action in catalogue.actions)


@lru_cache(maxsize=8)
def _weights(catalogue: Catalogue) -> Mapping[str, Sequence[tuple[int, float]]]:
    """For each word the positions of the actions that have it, and what it counts for each."""
    words = [set(stems(text)) for text in _texts(catalogue)]
    known = Counter(stem for each in words for stem in each)
    weights: dict[str, list[tuple[int, float]]] = {}
    for index, (action, each) in enumerate(zip(catalogue.actions, words, strict=True)):
        named = set(stems(action.name))
        for stem in each:
            weight = math.log(1 + len(words) / known[stem]) * (_NAME_WEIGHT if stem in named else 1.0)
            weights.setdefault(stem, []).append((index, weight))
    return weights
