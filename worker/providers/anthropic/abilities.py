"""The abilities of Anthropic's models, and the lessons of their refusals. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from worker.providers.chat.capabilities import PREFILL
from worker.providers.learning import refusals

# The API has no default for max_tokens. A model that takes less says how much.
MAX_TOKENS = 32_000
# A model without it is given a budget of thinking.
ADAPTIVE = "adaptive thinking"
# Before the number of tokens that a model takes at most.
MOST_TOKENS = "max_tokens "
# Wishes about style, without which the meaning of an answer stays.
LEFT_OUT = frozenset({"temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty"})

_PREFILL = re.compile(r"prefill|must end with a user message", re.IGNORECASE)
_ADAPTIVE = re.compile(r"adaptive|\beffort\b", re.IGNORECASE)
_MAX_TOKENS = re.compile(r"max_tokens:? (\d+) > (\d+)")


@dataclass(frozen=True, slots=True)
class Abilities:
    """The abilities of a model. ``max_tokens``: the most tokens of an answer that may be requested.

    ``prefills``: it continues a last assistant message. ``adapts``: it chooses its budget of thinking itself.
    ``samples``: it takes temperature, top_p and top_k.
    """

    max_tokens: int = MAX_TOKENS
    prefills: bool = False
    adapts: bool = True
    samples: bool = True

    def without(self, lacks: Collection[str]) -> Abilities:
        """The abilities of a model that lacks some."""
        limits = [int(name.removeprefix(MOST_TOKENS)) for name in lacks if name.startswith(MOST_TOKENS)]
        return replace(
            self,
            max_tokens=min([self.max_tokens, *limits]),
            prefills=self.prefills and PREFILL not in lacks,
            adapts=self.adapts and ADAPTIVE not in lacks,
        )


def lacking(document: object, body: Mapping[str, Any]) -> str | None:
    """The capability that a refusal of ``body`` denies, where the request can do without it; None for any other."""
    text = "\n".join(refusals.sentences(document))
    if body["messages"][-1]["role"] == "assistant" and _PREFILL.search(text):
        return PREFILL
    effort = body.get("output_config", {}).get("effort")
    if (effort or body.get("thinking", {}).get("type") == "adaptive") and _ADAPTIVE.search(text):
        return ADAPTIVE
    if (found := _MAX_TOKENS.search(text)) and 0 < int(found[2]) < body["max_tokens"]:
        return MOST_TOKENS + found[2]
    return refusals.refused_name(document, LEFT_OUT & body.keys())


def without(lacks: Collection[str], body: dict[str, Any]) -> dict[str, Any]:
    """The request without the parameters that the model refuses."""
    return {name: value for name, value in body.items() if name not in lacks or name not in LEFT_OUT}
