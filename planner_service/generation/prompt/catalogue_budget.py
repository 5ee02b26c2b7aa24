"""How much of a catalogue models are shown, by provider."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from planner_service.generation.settings import CatalogueBudget, GenerationSettings

HOSTED_ROOM = CatalogueBudget(120_000, 120_000)
"""About 30,000 tokens of text, and the schema of the reply about as many again."""
SERVER_ROOM = CatalogueBudget(48_000, 48_000)
"""For servers whose models and contexts are not known here."""
CPU_ROOM = CatalogueBudget(12_000, 6_000)
"""About 3,000 tokens, read once and then cached; of a larger catalogue 1,500, read anew for every request."""

ROOMS: Mapping[str, CatalogueBudget] = MappingProxyType(
    {
        "embedded": CPU_ROOM,
        "ollama": CPU_ROOM,
        "llamacpp": CPU_ROOM,
        "lmstudio": CPU_ROOM,
        "vllm": SERVER_ROOM,
    }
)
"""By provider; all others are hosted."""


def catalogue_room(model: str, settings: GenerationSettings) -> CatalogueBudget:
    """How much of a catalogue a model is shown: as the settings say, else as its provider's models read."""
    if settings.catalogue_characters:
        return CatalogueBudget(settings.catalogue_characters, settings.catalogue_characters)
    prefix = model.partition("/")[0]
    own_server = settings.base_url and prefix == settings.model.partition("/")[0]
    return ROOMS.get(prefix, SERVER_ROOM if own_server else HOSTED_ROOM)
