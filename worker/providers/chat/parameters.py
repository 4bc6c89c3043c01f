"""The parameters of a chat completion, read for an upstream whose API has other names for them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The service sets these itself, or they say nothing to a model.
_RESERVED = frozenset(
    {"instructions", "messages", "metadata", "model", "n", "prompt_cache_key", "response_format", "store", "stream",
     "stream_options"}
)  # fmt: skip
# Values that change nothing: a client that sends them needs no upstream that knows the parameter.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "presence_penalty": (0,),
    "service_tier": ("auto", "default"),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
}
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class ChatParameters:
    """The parameters by their meaning; None for one that was not given.

    ``functions`` are the function tools, ``tools`` those of any other form. ``choice`` is ``auto``, ``none``,
    ``required``, or ``function`` with the name in ``chosen``. ``effort`` is the effort of reasoning, and
    ``thinking_tokens`` its budget. ``rest`` has everything else under the name that it came with.
    """

    max_tokens: int | None
    stop: tuple[str, ...]
    functions: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...]
    choice: str | None
    chosen: str | None
    parallel: bool | None
    effort: str | None
    thinking_tokens: int | None
    user: str | None
    rest: dict[str, Any]

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> ChatParameters:
        """Read the parameters of a prompt."""
        rest = {
            name: value
            for name, value in parameters.items()
            if name not in _RESERVED and value is not None and value not in _NEUTRAL.get(name, ())
        }
        limits = [value for name in _LIMITS if isinstance(value := rest.pop(name, None), int) and value > 0]
        tools = rest.pop("tools", None)
        functions, others = _split(tools if isinstance(tools, list) else [])
        choice, chosen = _choice(rest.pop("tool_choice", None))
        effort, budget = _reasoning(rest)
        users = [str(user) for name in ("safety_identifier", "user") if (user := rest.pop(name, None))]
        return cls(
            max_tokens=min(limits, default=None),
            stop=_stop(rest.pop("stop", None)),
            functions=functions,
            tools=others,
            choice=choice,
            chosen=chosen,
            parallel=rest.pop("parallel_tool_calls", None),
            effort=effort,
            thinking_tokens=budget,
            user=users[0] if users else None,
            rest=rest,
        )


def _stop(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(text) for text in value) if isinstance(value, list) else ()


def _split(tools: list[Any]) -> tuple[tuple[Mapping[str, Any], ...], tuple[Mapping[str, Any], ...]]:
    functions, others = list[Mapping[str, Any]](), list[Mapping[str, Any]]()
    for tool in tools:
        if not isinstance(tool, dict):
            continue
        function = tool.get("function")
        if tool.get("type", "function") == "function" and isinstance(function, dict):
            functions.append(function)
        else:
            others.append(tool)
    return tuple(functions), tuple(others)


def _choice(value: Any) -> tuple[str | None, str | None]:
    if isinstance(value, str):
        return value, None
    if isinstance(value, dict):
        function = value.get("function")
        name = function.get("name") if isinstance(function, dict) else value.get("name")
        if isinstance(name, str):
            return "function", name
        kind = value.get("type")
        if isinstance(kind, str):
            return ("required" if kind == "any" else kind), None
    return None, None


def _reasoning(rest: dict[str, Any]) -> tuple[str | None, int | None]:
    """The effort and the budget of reasoning, taken out of ``rest``."""
    effort, reasoning = rest.pop("reasoning_effort", None), rest.get("reasoning")
    budget = None
    if isinstance(reasoning, dict):
        del rest["reasoning"]
        effort = effort or reasoning.get("effort") or ("none" if reasoning.get("enabled") is False else None)
        budget = reasoning.get("max_tokens")
    return (effort if isinstance(effort, str) else None), (budget if isinstance(budget, int) else None)
