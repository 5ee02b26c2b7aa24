"""What was measured of a model's replies: limits that hold for one exact file of weights, found by its hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from planner_service.generation.embedded.weights import QWEN_CODER_1_5B, Weights, sha256_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewProfile:
    """Probabilities from which on a reply is corrected. docs/laboratory/plan-quality.md has the measurements.

    refusal: of `no_matching_action` where the model wrote an action's name.
    invention: of a name there that the catalogue does not have.
    omission, switch_omission, choice_omission: of ending the arguments, or of another argument, where the model wrote
    an optional one that the request does not state; the second for switches, the third for one of several given values.
    sure: an action's name that was at least so probable gets no second look.
    least_assent: logarithm of the probability of "yes" over that of "no" below which the second look says no.
    """

    refusal: float
    invention: float
    omission: float
    switch_omission: float
    choice_omission: float
    sure: float
    least_assent: float


QWEN_CODER_PROFILE = ReviewProfile(
    refusal=0.15,
    invention=0.2,
    omission=0.15,
    switch_omission=0.05,
    choice_omission=0.4,
    sure=0.95,
    least_assent=-0.25,
)
PROFILES: Mapping[str, ReviewProfile] = {QWEN_CODER_1_5B.sha256: QWEN_CODER_PROFILE}
"""By the SHA-256 of the weights."""


def profile_of(path: Path, *, pulled: Weights | None = None) -> ReviewProfile | None:
    """The profile of a GGUF file; None for one that was not measured. Reads the file if its size is a measured one's.

    :param pulled: the weights that the file was checked to be when it was pulled
    """
    if pulled is not None:
        return PROFILES.get(pulled.sha256)
    if path.stat().st_size != QWEN_CODER_1_5B.size_bytes:
        return None
    return PROFILES.get(sha256_of(path).hexdigest())
