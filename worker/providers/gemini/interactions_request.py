"""A prompt as the JSON body of a request to Gemini's Interactions. Pure.

The whole history is sent with each request, as steps: a conversation may have come from another upstream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.domain.answer_format import AnswerFormat
from worker.providers.base import ChatMessage, Prompt, ToolCall
from worker.providers.chat.parameters import ChatParameters
from worker.providers.chat.request import CONTINUE_INSTRUCTION
from worker.providers.gemini.request import (
    FOREIGN_CALL,
    LEVEL_NAMES,
    NO_TEXT,
    arguments_of,
    current_turn,
    kept_with,
)
from worker.providers.learning import refusals
from worker.providers.parts import Part

# The key in Tool.extra of Gemini under which the thought steps before a call are kept.
THOUGHTS = "thoughts"
BEHIND_TEXT = "behind_text"
# Fields of the request itself. Every other parameter belongs to its generation_config.
_TOP_LEVEL = frozenset({"cached_content", "labels", "response_modalities", "safety_settings", "service_tier"})
# The service sets these itself.
_RESERVED = frozenset({"agent", "background", "continuation_token", "input", "previous_interaction_id"})
# Wishes about style, without which the meaning of an answer stays.
LEFT_OUT = frozenset({"frequency_penalty", "presence_penalty", "temperature", "top_k", "top_p"})
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}

Step = dict[str, Any]


def request_body(prompt: Prompt, *, background: bool, lacks: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The JSON object to post. ``background``: the run is stored upstream and goes on without its connection.

    ``lacks`` are the parameters that the model refuses, as ``lacking`` names them.
    """
    given = ChatParameters.of(prompt.parameters)
    rest = {name: value for name, value in given.rest.items() if name not in _RESERVED}
    body = {name: value for name, value in rest.items() if name in _TOP_LEVEL}
    body |= {"model": prompt.model.removeprefix("models/"), "input": _input(prompt)}
    body |= {"background": background, "store": background, "stream": True}
    config = {name: value for name, value in rest.items() if name not in _TOP_LEVEL}
    own = config.pop("generation_config", None)
    config |= _config(given) | (dict(own) if isinstance(own, Mapping) else {})
    if config := {name: value for name, value in config.items() if name not in lacks or name not in LEFT_OUT}:
        body["generation_config"] = config
    if tools := [*given.tools, *map(_function, given.functions)]:
        body["tools"] = tools
    if system := [message.content for message in prompt.messages if message.role == "system" and message.content]:
        body["system_instruction"] = "\n\n".join(system)
    if prompt.answer_format is not None:
        body["response_format"] = _format(prompt.answer_format)
    return body


def lacking(document: object, body: Mapping[str, Any]) -> str | None:
    """The parameter that a refusal of ``body`` denies, where the request can do without it; None for any other."""
    return refusals.refused_name(document, LEFT_OUT & body.get("generation_config", {}).keys())


def _config(given: ChatParameters) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if given.max_tokens is not None:
        config["max_output_tokens"] = given.max_tokens
    if given.stop:
        config["stop_sequences"] = list(given.stop)
    if given.effort:
        config["thinking_level"] = LEVEL_NAMES.get(given.effort, given.effort)
    if given.thinking_tokens or given.effort not in (None, "none"):
        config["thinking_summaries"] = "auto"
    if given.functions and given.chosen:
        config["tool_choice"] = {"allowed_tools": {"mode": "any", "tools": [given.chosen]}}
    elif given.functions and given.choice:
        config["tool_choice"] = _CHOICES.get(given.choice, given.choice)
    return config


def _function(function: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: function[name] for name in ("name", "description") if function.get(name)}
    parameters = function.get("parameters")
    return {"type": "function", **named, **({"parameters": parameters} if isinstance(parameters, Mapping) else {})}


def _format(wanted: AnswerFormat) -> dict[str, Any]:
    form: dict[str, Any] = {"type": "text", "mime_type": "application/json"}
    return form if wanted.schema is None else {**form, "schema": dict(wanted.schema)}


def _input(prompt: Prompt) -> list[Step]:
    """The steps of the conversation. They never end with the model's own: there the API has nothing to answer."""
    fresh = current_turn(prompt.messages)
    calls = {call.call_id: call for message in prompt.messages for call in message.tool_calls}
    steps: list[Step] = []
    for place, message in enumerate(prompt.messages):
        if message.role == "tool":
            steps.append(_result(message, calls.get(message.tool_call_id or "")))
        elif message.role == "assistant":
            steps += _said(message, demands=place >= fresh)
        elif message.role != "system":
            steps.append({"type": "user_input", "content": [_part(part) for part in message.all_parts or (NO_TEXT,)]})
    if prompt.prefix:
        steps += (_text("model_output", prompt.prefix), _text("user_input", CONTINUE_INSTRUCTION))
    elif not steps or steps[-1]["type"] not in ("user_input", "function_result"):
        steps.append(_text("user_input", NO_TEXT))
    return steps


def _said(message: ChatMessage, *, demands: bool) -> Iterator[Step]:
    """The steps of one answer, in the order in which the model gave them."""
    text = [_text("model_output", message.content)] if message.content else []
    thoughts = _thoughts(message.tool_calls[0], demands=demands) if message.tool_calls else []
    is_behind = message.tool_calls and kept_with(message.tool_calls[0]).get(BEHIND_TEXT)
    yield from (*text, *thoughts) if is_behind else (*thoughts, *text)
    for number, call in enumerate(message.tool_calls):
        if number:
            yield from _thoughts(call, demands=False)
        own = kept_with(call)
        identity = {"id": own.get("id") or call.call_id, "name": call.name}
        yield {"type": "function_call", **identity, "arguments": arguments_of(call.arguments)}


def _thoughts(call: ToolCall, *, demands: bool) -> Sequence[Step]:
    """The thought steps before a call, unchanged. ``demands``: the API wants a signature, also for a foreign call."""
    own = kept_with(call)
    if isinstance(thoughts := own.get(THOUGHTS), list):
        return [step for step in thoughts if isinstance(step, dict)]
    signature = own.get("thoughtSignature") or (FOREIGN_CALL if demands else None)
    return [{"type": "thought", "signature": signature}] if signature else []


def _result(message: ChatMessage, call: ToolCall | None) -> Step:
    call_id = (kept_with(call).get("id") if call else None) or message.tool_call_id
    named = {"name": call.name} if call else {}
    return {"type": "function_result", "call_id": call_id, **named, "result": message.content}


def _text(kind: str, text: str) -> Step:
    return {"type": kind, "content": [_part(text)]}


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = "image" if part.is_image else "document"
    return {"type": kind, "mime_type": part.media_type, "data": part.base64}
