"""One model's client: how a call is made, and with which parameters, adapted to what the model rejected before."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import instructor

from planner_service.generation.providers.provider_table import Provider

ALTERNATIVES = 8
"""How many candidates a server gives for each token."""
_OTHER_NAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_ALSO_DROPPED = {"logprobs": ("logprobs", "top_logprobs"), "top_logprobs": ("logprobs", "top_logprobs")}


@dataclasses.dataclass(slots=True)
class ModelClient:
    """One provider string's client.

    sdk: the provider's own client. create: makes one call with its parameters and gives its raw response; of what is
    left to Instructor, Instructor's `create`. stream_type: what the raw response of a stream is parsed to. key: to be
    masked.
    adaptations: parameters that this model rejected, with the names to give instead; None: leave it out.
    """

    model: str
    prefix: str
    mode: instructor.Mode
    row: Provider
    options: dict[str, Any]
    sdk: Any
    create: Callable[..., Awaitable[Any]]
    stream_type: Any = None
    key: str = dataclasses.field(default="", repr=False)
    adaptations: dict[str, str | None] = dataclasses.field(default_factory=dict)

    @property
    def uses_tools(self) -> bool:
        """Whether the schema is given as the one tool to call."""
        return self.mode is instructor.Mode.TOOLS

    @property
    def streams(self) -> bool:
        """Whether replies can be read while they come."""
        return self.row.wire != "instructor"

    @property
    def stream_options(self) -> dict[str, Any]:
        """Parameters that make a call a stream, without those the model rejected."""
        usage = self.row.wire == "openai" and self.row.stream_options and "stream_options" not in self.adaptations
        return {"stream": True, **({"stream_options": {"include_usage": True}} if usage else {})}

    def adapt(self, parameters: Sequence[str]) -> bool:
        """Leaves out, or gives its other name to, the first parameter complained about that calls send.

        Tells whether that changes anything.
        """
        for name in parameters:
            if name not in self._sent_parameters():
                continue
            other = _OTHER_NAMES.get(name)
            if self.row.wire == "anthropic" and other is not None:
                continue  # its protocol requires max_tokens
            self.adaptations[name] = None if other in self.adaptations else other
            return True
        return False

    def call_options(self, *, output_limit: int, temperature: float, seed: int) -> dict[str, Any]:
        """Parameters of one call, in this provider's names, adapted to what the model rejected before."""
        row = self.row
        options = dict(self.options)
        if row.wire == "instructor":
            return options
        options[row.output_limit] = output_limit
        if row.temperature:
            options["temperature"] = temperature
        if row.seed == "seed":
            options["seed"] = seed
        elif row.seed:
            options["extra_body"] = {row.seed: seed}
        if row.tells_logprobs:
            options.update(logprobs=True, top_logprobs=ALTERNATIVES)
        for name, other in self.adaptations.items():
            for sent in _ALSO_DROPPED.get(name, (name,)):
                value = options.pop(sent, None)
                if other is not None and value is not None:
                    options[other] = value
            if name in options.get("extra_body", ()):
                del options["extra_body"]
        return options

    def _sent_parameters(self) -> set[str]:
        options = self.call_options(output_limit=1, temperature=0.0, seed=0)
        return {*options, *options.get("extra_body", ()), *self.stream_options} - {"model", "stream", "extra_body"}
