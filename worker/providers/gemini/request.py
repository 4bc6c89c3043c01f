"""A prompt as the JSON body of Gemini's ``streamGenerateContent``. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from app.domain.answer_format import AnswerFormat
from worker.providers.base import ChatMessage, Prompt, ToolCall
from worker.providers.chat.parameters import ChatParameters
from worker.providers.chat.request import CONTINUE_INSTRUCTION
from worker.providers.learning import refusals
from worker.providers.parts import Part as MessagePart

# What the API takes for the signature of a call that another model made; its documentation names it.
FOREIGN_CALL = "skip_thought_signature_validator"
# A message that has no text at all; the API refuses an empty one.
NO_TEXT = "(no text)"
# Fields of the request itself. Every other parameter belongs to its generationConfig.
_TOP_LEVEL = frozenset({"cachedContent", "labels", "safetySettings", "toolConfig"})
_CONFIG = {
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "temperature": "temperature",
    "top_k": "topK",
    "top_p": "topP",
}
# Models that take a number of tokens for thinking; later ones take a level.
_WITH_BUDGETS = ("gemini-1", "gemini-2")
_BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
LEVEL_NAMES = {"none": "minimal", "xhigh": "high", "max": "high"}
# A model without it is given a budget of thinking.
LEVELS = "levels of thinking"
_NO_LEVEL = re.compile(r"thinking[ _]?level", re.IGNORECASE)
# Wishes about style, without which the meaning of an answer stays.
LEFT_OUT = frozenset({"temperature", "topP", "topK", "presencePenalty", "frequencyPenalty"})
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "function": "ANY"}

Part = dict[str, Any]


def request_body(prompt: Prompt, *, prefill: bool = False, lacks: Collection[str] = ()) -> dict[str, Any]:
    """The JSON object to post. With ``prefill`` the model itself goes on from a prefix, otherwise it is instructed.

    ``lacks`` are the capabilities that the model lacks, as ``lacking`` names them.
    """
    given = ChatParameters.of(prompt.parameters)
    config = {_CONFIG.get(name, name): value for name, value in given.rest.items() if name not in _TOP_LEVEL}
    body = {name: value for name, value in given.rest.items() if name in _TOP_LEVEL}
    given_config = config.pop("generationConfig", None)
    if isinstance(given_config, Mapping):
        config |= given_config
    if given.max_tokens is not None:
        config["maxOutputTokens"] = given.max_tokens
    if given.stop:
        config["stopSequences"] = list(given.stop)
    _add_thinking(config, given, LEVELS not in lacks and not prompt.model.startswith(_WITH_BUDGETS))
    config = {name: value for name, value in config.items() if name not in lacks or name not in LEFT_OUT}
    _add_format(config, prompt.answer_format)
    _add_tools(body, given)
    body["contents"] = _contents(prompt)
    if prompt.prefix:
        _add_prefix(body["contents"], prompt.prefix, prefill)
    if system := [message.content for message in prompt.messages if message.role == "system" and message.content]:
        body["systemInstruction"] = {"parts": [{"text": "\n\n".join(system)}]}
    if config:
        body["generationConfig"] = config
    return body


def lacking(document: object, body: Mapping[str, Any]) -> str | None:
    """The capability that a refusal of ``body`` denies, where the request can do without it; None for any other."""
    config = body.get("generationConfig", {})
    if "thinkingLevel" in config.get("thinkingConfig", {}) and any(
        _NO_LEVEL.search(sentence) for sentence in refusals.sentences(document)
    ):
        return LEVELS
    return refusals.refused_name(document, LEFT_OUT & config.keys())


def most_calls(prompt: Prompt) -> int | None:
    """1 where the client wants no parallel calls: the API has no such parameter."""
    return 1 if ChatParameters.of(prompt.parameters).parallel is False else None


def _contents(prompt: Prompt) -> list[dict[str, Any]]:
    """The messages without those of the system; the roles alternate, and the user begins."""
    contents: list[dict[str, Any]] = []
    calls = {call.call_id: call for message in prompt.messages for call in message.tool_calls}
    fresh = current_turn(prompt.messages) if not prompt.model.startswith(_WITH_BUDGETS) else len(prompt.messages)
    for place, message in enumerate(prompt.messages):
        if message.role == "system":
            continue
        role = "model" if message.role == "assistant" else "user"
        parts = _parts(message, calls, demands=place >= fresh)
        if contents and contents[-1]["role"] == role and _kind(contents[-1]["parts"]) == _kind(parts):
            contents[-1]["parts"] += parts
        elif parts:
            if role == "model" and not contents:
                contents.append({"role": "user", "parts": [{"text": NO_TEXT}]})
            contents.append({"role": role, "parts": parts})
    if not contents or (contents[-1]["role"] == "model" and prompt.messages[-1].role != "assistant"):
        contents.append({"role": "user", "parts": [{"text": NO_TEXT}]})
    return contents


def _kind(parts: Sequence[Part]) -> bool:
    """Results of calls have a message of their own."""
    return any("functionResponse" in part for part in parts)


def current_turn(messages: Sequence[ChatMessage]) -> int:
    """The place behind the last message of the user: from there on the API demands signatures."""
    return max(
        (place + 1 for place, message in enumerate(messages) if message.role == "user" and message.all_parts), default=0
    )


def _parts(message: ChatMessage, calls: Mapping[str, ToolCall], *, demands: bool) -> list[Part]:
    if message.role == "tool":
        call = calls.get(message.tool_call_id or "")
        response: Part = {"name": call.name if call else "tool", "response": {"output": message.content}}
        if call and (own := kept_with(call).get("id")):
            response["id"] = own
        return [{"functionResponse": response}]
    parts: list[Part] = [_part(part) for part in message.all_parts]
    for number, call in enumerate(message.tool_calls):
        own = kept_with(call)
        part: Part = {"functionCall": {"name": call.name, "args": arguments_of(call.arguments)}}
        if "id" in own:
            part["functionCall"]["id"] = own["id"]
        if "thoughtSignature" in own:
            part["thoughtSignature"] = own["thoughtSignature"]
        elif demands and number == 0:
            part["thoughtSignature"] = FOREIGN_CALL
        parts.append(part)
    return parts


def _part(part: MessagePart) -> Part:
    if isinstance(part, str):
        return {"text": part}
    return {"inlineData": {"mimeType": part.media_type, "data": part.base64}}


def kept_with(call: ToolCall) -> Mapping[str, Any]:
    """The fields that Gemini gave with a call; empty for a call of another upstream."""
    own = (call.extra or {}).get("gemini")
    return own if isinstance(own, Mapping) else {}


def arguments_of(arguments: str) -> dict[str, Any]:
    """The arguments as an object. What the model wrote instead of one stays readable."""
    if not arguments.strip():
        return {}
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {"arguments": arguments}
    return parsed if isinstance(parsed, dict) else {"arguments": parsed}


def _add_prefix(contents: list[dict[str, Any]], prefix: str, prefill: bool) -> None:
    if contents[-1]["role"] == "model":
        contents[-1]["parts"].append({"text": prefix})
    else:
        contents.append({"role": "model", "parts": [{"text": prefix}]})
    if not prefill:
        contents.append({"role": "user", "parts": [{"text": CONTINUE_INSTRUCTION}]})


def _add_thinking(config: dict[str, Any], given: ChatParameters, has_levels: bool) -> None:
    """Map the effort of reasoning. A ``thinkingConfig`` of the API's own form takes precedence."""
    if "thinkingConfig" in config or not (given.effort or given.thinking_tokens):
        return
    thinking: dict[str, Any] = {"includeThoughts": given.effort != "none"}
    if given.thinking_tokens:
        thinking["thinkingBudget"] = given.thinking_tokens
    elif not has_levels:
        thinking["thinkingBudget"] = _BUDGETS.get(given.effort or "", _BUDGETS["medium"])
    else:
        thinking["thinkingLevel"] = LEVEL_NAMES.get(given.effort or "", given.effort)
    config["thinkingConfig"] = thinking


def _add_tools(body: dict[str, Any], given: ChatParameters) -> None:
    tools = list(given.tools)
    if given.functions:
        tools.append({"functionDeclarations": [_declaration(function) for function in given.functions]})
    if tools:
        body["tools"] = tools
    if given.choice is None or not given.functions:
        return
    calling: dict[str, Any] = {"mode": _MODES.get(given.choice, given.choice)}
    if given.chosen:
        calling["allowedFunctionNames"] = [given.chosen]
    own = body.get("toolConfig")
    body["toolConfig"] = {**(own if isinstance(own, dict) else {}), "functionCallingConfig": calling}


def _declaration(function: Mapping[str, Any]) -> dict[str, Any]:
    declaration = {name: function[name] for name in ("name", "description") if function.get(name)}
    parameters = function.get("parameters")
    # The API refuses an object without properties.
    if isinstance(parameters, Mapping) and (parameters.get("properties") or parameters.get("type") != "object"):
        declaration["parametersJsonSchema"] = parameters
    return declaration


def _add_format(config: dict[str, Any], wanted: AnswerFormat | None) -> None:
    if wanted is not None:
        config["responseMimeType"] = "application/json"
        if wanted.schema is not None:
            config["responseJsonSchema"] = dict(wanted.schema)
