"""Tool calls of the built-in model, and its answers to their results. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence

from worker.providers.base import ChatMessage, Prompt, ToolDelta, function_names

_ARITHMETIC = re.compile(
    r"(?:calculate|compute|work out|how much is|what is|what's)\s+([\d(.+-][\d\s+\-*/%^().,×÷]*)", re.I
)
_TIME = re.compile(r"\b(?:what time is it|what is the time|what's the time|current time)(?: in (\w+/\w+))?", re.I)
_CONVERT = re.compile(r"\bconvert (-?\d+(?:\.\d+)?)\s*([a-z]\w?\w?)\s+(?:to|into|in) ([a-z]\w?\w?)\b", re.I)
_COUNT = re.compile(r"\bcount the words (?:in|of):?\s+(.+)", re.I | re.S)


def _calculate(found: re.Match[str]) -> dict[str, object] | None:
    expression = found[1].strip(" .,")
    return {"expression": expression} if re.search(r"\d\s*[-+*/%^×÷]", expression) else None


def _unit(name: str) -> str:
    return name.upper() if name.lower() in ("c", "f", "k") else name.lower()


_WISHES: dict[str, tuple[re.Pattern[str], Callable[[re.Match[str]], dict[str, object] | None]]] = {
    "calculator": (_ARITHMETIC, _calculate),
    "current_time": (_TIME, lambda found: {"zone": found[1]} if found[1] else {}),
    "unit_convert": (_CONVERT, lambda f: {"value": float(f[1]), "unit": _unit(f[2]), "to": _unit(f[3])}),
    "word_count": (_COUNT, lambda found: {"text": found[1].strip()}),
}


def wanted(prompt: Prompt) -> list[ToolDelta]:
    """The tools this conversation asks for in so many words, if they are offered and have not answered yet."""
    last = prompt.messages[-1] if prompt.messages else None
    if last is None or last.role != "user" or prompt.prefix or prompt.parameters.get("tool_choice") == "none":
        return []
    calls: list[ToolDelta] = []
    for name in function_names(prompt.parameters):
        pattern, arguments_of = _WISHES.get(name, (None, None))
        found = pattern.search(last.content) if pattern else None
        arguments = arguments_of(found) if found and arguments_of else None
        if arguments is not None:
            calls.append(ToolDelta(len(calls), _call_id(prompt, name), name, json.dumps(arguments)))
    return calls


def told(messages: Sequence[ChatMessage]) -> str:
    """The results of the tools that were called last; empty when there are none."""
    results: list[ChatMessage] = []
    for message in reversed(messages):
        if message.role != "tool":
            break
        results.insert(0, message)
    asked = {call.call_id: call.name for message in messages for call in message.tool_calls}
    lines = [f"**{asked.get(one.tool_call_id or '', 'The tool')}** says: `{one.content}`" for one in results]
    return "\n\n".join(lines) + "\n\n" if lines else ""


def _call_id(prompt: Prompt, name: str) -> str:
    """An id that depends on the conversation only."""
    said = "\0".join([name, *(f"{message.role}\0{message.content}" for message in prompt.messages)])
    return "call_" + hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]
