"""The parts of a chat completions request that some upstreams refuse, and the request without them. Pure.

A capability that is lacking is a name: of a parameter, or one of the constants below. A parameter is left out only
where the meaning of the answer stays, or where the model knows one value of it; any other refusal is the client's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from worker.providers.learning import refusals

# An upstream without it receives the system message as the beginning of the first user's message.
SYSTEM_ROLE = "system role"
# An upstream without it continues an answer by an instruction.
PREFILL = "prefill"
# An upstream without it answers in one document.
STREAM = "stream"

# Each name of the limit of an answer's tokens, and the other one.
TOKEN_LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
# Wishes about style, and what this service adds by itself.
LEFT_OUT = frozenset(
    {"stream_options", "temperature", "top_p", "presence_penalty", "frequency_penalty", "parallel_tool_calls"}
)
# Parameters that say nothing with these values.
DEFAULTS: Mapping[str, Any] = {
    "tool_choice": "auto",
    "n": 1,
    "logprobs": False,
    "store": False,
    "service_tier": "auto",
    "response_format": {"type": "text"},
    "logit_bias": {},
}
# What this service gives back with the messages of an answer.
OF_MESSAGES = frozenset({"reasoning_content", "extra_content"})
_OF_PREFILL = frozenset({"continue_final_message", "add_generation_prompt"})

_NO_SYSTEM_ROLE = re.compile(
    r"(?=.*\b(?:system|developer)\b)(?=.*\b(?:roles?|messages?|prompts?|instructions?)\b)"
    r".*(?:not? support|n['’]t support|unsupported|unexpected|not (?:enabled|allowed|permitted|accepted)|unknown"
    r"|invalid)|roles must alternate|only user(?:,| and) assistant",
    re.IGNORECASE,
)
_NO_PREFILL = re.compile(
    r"prefill|must end with a user|(?:last|final) (?:message|role|turn)\b.*\b(?:must|should|has to|expected)\b"
    r"|expected last role|cannot (?:be|end with) (?:an? )?assistant",
    re.IGNORECASE,
)


def lacking(document: object, body: Mapping[str, Any]) -> str | None:
    """The capability that a refusal of ``body`` denies, where the request can do without it; None for any other."""
    refused = refusals.refused_name(document, _replaceable(body))
    if refused is not None:
        return PREFILL if refused in _OF_PREFILL else refused
    texts = list(refusals.sentences(document))
    roles = [message.get("role") for message in body.get("messages", ())]
    if roles[-1:] == ["assistant"] and any(map(_NO_PREFILL.search, texts)):
        return PREFILL
    if {"system", "developer"} & set(roles) and any(map(_NO_SYSTEM_ROLE.search, texts)):
        return SYSTEM_ROLE
    return None


def refused_wish(document: object, body: Mapping[str, Any]) -> str | None:
    """The wish about style in ``body`` that a refusal denies; other protocols of OpenAI have these names too."""
    return refusals.refused_name(document, LEFT_OUT & body.keys())


def without(lacks: Collection[str], body: dict[str, Any]) -> dict[str, Any]:
    """The request for an upstream that lacks capabilities. PREFILL is the business of the caller."""
    if not lacks:
        return body
    body = {name: value for name, value in body.items() if name not in lacks or not _may_go(name, value)}
    for name, other in TOKEN_LIMITS.items():
        if name in lacks and other not in lacks and name in body:
            value = body.pop(name)
            body.setdefault(other, value)
    if STREAM in lacks:
        body["stream"] = False
        body.pop("stream_options", None)
    steps: list[Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = []
    if gone := OF_MESSAGES.intersection(lacks):
        steps.append(lambda messages: [_without_fields(message, gone) for message in messages])
    if SYSTEM_ROLE in lacks:
        steps.append(_without_system)
    for step in steps:
        body["messages"] = step(body["messages"])
    return body


def _replaceable(body: Mapping[str, Any]) -> set[str]:
    """The parts of a request that it can do without."""
    names = {name for name, value in body.items() if _may_go(name, value)}
    names |= body.keys() & _OF_PREFILL
    names |= {name for name, other in TOKEN_LIMITS.items() if name in body and other not in body}
    if body.get("stream") is True:
        names.add(STREAM)
    for message in body.get("messages", ()):
        names |= message.keys() & OF_MESSAGES
        names |= {name for call in message.get("tool_calls") or () for name in call.keys() & OF_MESSAGES}
    return names


def _may_go(name: str, value: Any) -> bool:
    return name in LEFT_OUT or (name in DEFAULTS and value == DEFAULTS[name])


def _without_fields(message: dict[str, Any], gone: Collection[str]) -> dict[str, Any]:
    kept = {name: value for name, value in message.items() if name not in gone}
    if calls := kept.get("tool_calls"):
        kept["tool_calls"] = [{name: value for name, value in call.items() if name not in gone} for call in calls]
    return kept


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the text of system messages before the first message of a user."""
    system = [message for message in messages if message.get("role") in ("system", "developer")]
    others = [message for message in messages if message.get("role") not in ("system", "developer")]
    text = "\n\n".join(_text(message.get("content")) for message in system)
    if not text:
        return others
    if not others or others[0].get("role") != "user":
        return [{"role": "user", "content": text}, *others]
    content = others[0].get("content")
    if isinstance(content, list):
        merged: Any = [{"type": "text", "text": text}, *content]
    else:
        merged = f"{text}\n\n{content}" if content else text
    return [{**others[0], "content": merged}, *others[1:]]


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
