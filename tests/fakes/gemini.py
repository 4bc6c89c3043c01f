"""A fake of Gemini's own API, as strict about requests as the real one: see ``tests/fakes/native.py``.

A model whose name begins with ``gemini-3`` demands the signatures of calls in the current turn, and takes a level of
thinking; one that begins with ``gemini-2`` takes a budget. ``drops`` in a model's name: it gives no ids to its calls.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from tests.fakes.native import (
    Asked,
    Behaviour,
    Call,
    Dialect,
    Event,
    FakeServer,
    Refusal,
    main,
    pieces,
    signature,
    words,
)

MODELS = ("fake", "gemini-2.5-fake", "gemini-3-fake")
FOREIGN_CALL = "skip_thought_signature_validator"
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_FIELDS = {
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "safetySettings",
    "cachedContent",
}
_FIELDS |= {"labels", "continuationToken"}
_CONFIG = {
    "temperature", "topP", "topK", "maxOutputTokens", "stopSequences", "thinkingConfig", "responseMimeType", "seed",
    "responseJsonSchema", "responseSchema", "candidateCount", "presencePenalty", "frequencyPenalty", "responseLogprobs",
    "logprobs", "responseModalities",
}  # fmt: skip
# What these contain is not the API's own.
_FREE = {"args", "response", "parametersJsonSchema", "responseJsonSchema", "parameters", "responseSchema", "labels"}
_PARTS = {"text", "thought", "thoughtSignature", "functionCall", "functionResponse", "inlineData", "fileData"}


def _demand(condition: object, message: str) -> None:
    if not condition:
        raise Refusal(400, "INVALID_ARGUMENT", message)


def _known(value: dict[str, Any], fields: set[str], place: str) -> None:
    for name in value:
        _demand(
            name in fields, f"Invalid JSON payload received. Unknown name \"{name}\" at '{place}': Cannot find field."
        )


class Gemini(Dialect):
    """The API. With ``api_key`` it demands one."""

    def __init__(self, api_key: str | None = None) -> None:
        self._api_key = api_key

    def routes(self, answer: Any) -> list[web.RouteDef]:
        return [
            web.post(r"/{version:v1\w*}/models/{model:.+}:streamGenerateContent", answer),
            web.post(r"/{version:v1\w*}/models/{model:.+}:generateContent", answer),
            web.get(r"/{version:v1\w*}/models", self._models),
        ]

    def check(self, request: web.Request, body: dict[str, Any]) -> Asked:
        self._authenticate(request)
        streams = request.path.endswith(":streamGenerateContent")
        _demand(not streams or request.query.get("alt") == "sse", "this fake streams with alt=sse only")
        return check_body(_camel(body), request.match_info["model"], streams)

    def events(self, call: Call, wish: Behaviour, asked: Asked) -> Iterator[Event]:
        form = _Form(call, wish)
        for parts, tokens, thoughts in form.parts(asked):
            extra = b": alive\n\n" + form.event({}) if wish.pings else b""
            unknown = form.event({"candidates": [{"index": 0, "content": {"parts": [{"mood": "!"}]}}], "weather": 1})
            data = form.event({"candidates": [form.candidate(parts)]})
            yield Event(extra + (unknown if wish.unknown else b"") + data, tokens, thoughts)
        if wish.no_end:
            return
        if wish.finish == "blocked":
            yield Event(form.event({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}))
            return
        yield Event(form.event({"candidates": [{**form.candidate([{"text": ""}]), **form.finish(asked)}]}))

    def document(self, call: Call, wish: Behaviour, asked: Asked) -> dict[str, Any]:
        form = _Form(call, wish)
        whole: list[dict[str, Any]] = []
        for parts, tokens, _ in form.parts(asked):
            call.tokens_sent += tokens
            if whole and tokens and set(whole[-1]) == {"text"}:
                whole[-1]["text"] += parts[0]["text"]
            else:
                whole += [dict(part) for part in parts]
        return form.response({"candidates": [{**form.candidate(whole), **form.finish(asked)}]})

    def error(self, status: int, kind: str | None, message: str) -> dict[str, Any]:
        kind = kind if kind in _STATUSES.values() else _STATUSES.get(status, "UNKNOWN")
        error: dict[str, Any] = {"code": status, "message": message, "status": kind}
        if message.startswith("API key not valid"):
            error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
        if status == 429:
            error["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"}]
        return {"error": error}

    def error_event(self, wish: Behaviour) -> bytes:
        return b"data: %b\n\n" % orjson.dumps(self.error(503, wish.error_type or "UNAVAILABLE", wish.error_message))

    def _authenticate(self, request: web.Request) -> None:
        given = request.headers.get("x-goog-api-key")
        if self._api_key is not None and given != self._api_key:
            raise Refusal(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")

    async def _models(self, request: web.Request) -> web.Response:
        try:
            self._authenticate(request)
        except Refusal as refusal:
            return web.json_response(self.error(400, refusal.kind, refusal.message), status=400)
        models = [_model(name, "generateContent", "countTokens") for name in MODELS]
        return web.json_response({"models": [_model("embedding-fake", "embedContent"), *models]})


def _model(name: str, *methods: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": list(methods),
    }


class _Form:
    """The parts of one answer."""

    def __init__(self, call: Call, wish: Behaviour) -> None:
        self._call = call
        self._wish = wish

    def event(self, fields: dict[str, Any]) -> bytes:
        return b"data: %b\n\n" % orjson.dumps(self.response(fields))

    def response(self, fields: dict[str, Any]) -> dict[str, Any]:
        call = self._call
        model = call.model.partition("?")[0]
        return {**fields, "usageMetadata": self._usage(), "modelVersion": model, "responseId": f"r{call.number}"}

    @staticmethod
    def candidate(parts: list[dict[str, Any]]) -> dict[str, Any]:
        return {"content": {"parts": parts, "role": "model"}, "index": 0}

    def finish(self, asked: Asked) -> dict[str, Any]:
        wish = self._wish
        if wish.pause_after is not None and not asked.paused:
            token = base64.urlsafe_b64encode(b"token%9d" % self._call.tokens_sent).decode()
            return {"finishReason": "CONTINUATION", "continuationToken": token}
        return {"finishReason": wish.finish or "STOP"}

    def parts(self, asked: Asked) -> Iterator[tuple[list[dict[str, Any]], int, int]]:
        """The parts of each event, with their tokens of the answer and of thoughts."""
        wish, call = self._wish, self._call
        thinking = (call.body.get("generationConfig") or {}).get("thinkingConfig") or {}
        if thinking.get("includeThoughts"):
            texts = (
                [wish.thought] if wish.thought is not None else [f"t{call.number}.{i} " for i in range(wish.thoughts)]
            )
            yield from (([{"text": text, "thought": True}], 0, 1) for text in texts)
        yield from (([{"text": text}], 1, 0) for text in pieces(call, wish, asked.paused))
        if wish.tool_calls and self._may_call() and (wish.pause_after is None or asked.paused):
            yield [self._call_part(number, tool) for number, tool in enumerate(wish.tool_calls)], 0, 0

    def _call_part(self, number: int, tool: dict[str, Any]) -> dict[str, Any]:
        args = tool.get("arguments") or {}
        call: dict[str, Any] = {"name": tool["name"], "args": args}
        if "drops" not in self._call.model:
            call["id"] = f"fc-{self._call.number}-{number}"
        part: dict[str, Any] = {"functionCall": call}
        if number == 0:  # only the first of parallel calls has one
            part["thoughtSignature"] = signature(call["name"], args)
        return part

    def _may_call(self) -> bool:
        body, wish = self._call.body, self._wish
        mode = ((body.get("toolConfig") or {}).get("functionCallingConfig") or {}).get("mode")
        if mode == "NONE" or not body.get("tools"):
            return False
        told = sum("functionResponse" in part for content in body["contents"] for part in content["parts"])
        return wish.tool_rounds is None or told < wish.tool_rounds

    def _usage(self) -> dict[str, Any]:
        call, wish = self._call, self._wish
        asked = words(call.body.get("systemInstruction")) + words(call.body["contents"]) + wish.cached
        usage = {"promptTokenCount": asked, "candidatesTokenCount": call.tokens_sent}
        if call.thoughts_sent:
            usage["thoughtsTokenCount"] = call.thoughts_sent
        if wish.cached:
            usage["cachedContentTokenCount"] = wish.cached
        return {**usage, "totalTokenCount": sum(usage.values())}


# --- the rules of a request --------------------------------------------------------------------------------------


def _camel(value: Any) -> Any:
    """A request with the other spelling of names, which the real API takes as well."""
    if isinstance(value, list):
        return list(map(_camel, value))
    if not isinstance(value, dict):
        return value
    spelt = {re.sub(r"_(\w)", lambda found: found[1].upper(), name): inner for name, inner in value.items()}
    return {name: inner if name in _FREE else _camel(inner) for name, inner in spelt.items()}


def check_body(body: dict[str, Any], model: str, streams: bool = True) -> Asked:
    """Read a request as strictly as the API does. Raises Refusal."""
    _known(body, _FIELDS, "")
    config = body.get("generationConfig") or {}
    _known(config, _CONFIG, "generation_config")
    _check_config(config, model)
    _check_tools(body)
    _demand(body.get("contents"), "GenerateContentRequest.contents: contents is not specified")
    _check_contents(body["contents"], model)
    paused = False
    if token := body.get("continuationToken"):
        paused = base64.urlsafe_b64decode(token).startswith(b"token")
        _demand(paused, "Invalid continuation token.")
    return _asked(body, model, streams, paused)


def _check_config(config: dict[str, Any], model: str) -> None:
    thinking = config.get("thinkingConfig") or {}
    _known(thinking, {"includeThoughts", "thinkingBudget", "thinkingLevel"}, "generation_config.thinking_config")
    level = thinking.get("thinkingLevel")
    _demand(level in (None, "minimal", "low", "medium", "high", "MINIMAL", "LOW", "MEDIUM", "HIGH"), "Unknown level")
    _demand(level is None or not model.startswith("gemini-2"), "Thinking level is not supported for this model.")
    both = level is not None and "thinkingBudget" in thinking
    _demand(not both, "You can only set only one of thinking budget and thinking level.")
    _demand(0 <= config.get("temperature", 0) <= 2, "temperature must be in the range [0.0, 2.0]")
    _demand(config.get("maxOutputTokens", 1) > 0, "max_output_tokens must be positive.")
    _demand(len(config.get("stopSequences") or ()) <= 5, "at most 5 stop sequences")
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    is_json = config.get("responseMimeType") == "application/json"
    _demand(schema is None or is_json, "a response schema needs response_mime_type: 'application/json'")


def _check_tools(body: dict[str, Any]) -> None:
    names = set()
    for tool in body.get("tools") or ():
        _known(tool, {"functionDeclarations", "googleSearch", "codeExecution", "urlContext"}, "tools[0]")
        for function in tool.get("functionDeclarations") or ():
            fields = {"name", "description", "parameters", "parametersJsonSchema", "response", "behavior"}
            _known(function, fields, "tools[0].function_declarations[0]")
            schema = function.get("parameters") or function.get("parametersJsonSchema")
            is_full = schema is None or schema.get("type") != "object" or schema.get("properties")
            _demand(is_full, "function_declarations[0].parameters.properties: should be non-empty for OBJECT type")
            names.add(function["name"])
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    _known(calling, {"mode", "allowedFunctionNames"}, "tool_config.function_calling_config")
    _demand(calling.get("mode", "AUTO") in ("AUTO", "ANY", "NONE", "VALIDATED"), "Invalid value at mode")
    allowed = calling.get("allowedFunctionNames") or ()
    _demand(set(allowed) <= names, "allowed_function_names contains names that are not declared")
    _demand(not allowed or calling["mode"] in ("ANY", "VALIDATED"), "allowed_function_names needs mode ANY")


def _check_contents(contents: list[dict[str, Any]], model: str) -> None:
    for content in contents:
        _known(content, {"role", "parts"}, "contents[0]")
        _demand(content["role"] in ("user", "model"), "Please use a valid role: user, model.")
        _demand(content.get("parts"), "contents.parts must not be empty.")
        for part in content["parts"]:
            _check_part(part, content["role"])
    _demand(contents[0]["role"] == "user", "the first content must be of the user")
    called: list[str] = []
    for content in contents:
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        told = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        order = "Please ensure that function call turn comes immediately after a user turn or a function response turn."
        _demand(bool(told) == bool(called), order)
        counts = (
            "Please ensure that the number of function response parts is equal to the number of function call parts"
        )
        _demand([t["name"] for t in told] == called, counts + " of the function call turn.")
        called = [call["name"] for call in calls]
    _demand(not called, "a function call needs its response")
    questions = [n for n, c in enumerate(contents) if c["role"] == "user" and "text" in c["parts"][-1]]
    last_text = max(questions, default=-1)
    for number, content in enumerate(contents):
        signed = [part.get("thoughtSignature") for part in content["parts"] if "functionCall" in part]
        if signed and number > last_text and model.startswith("gemini-3"):
            _demand(signed[0], "Function call is missing a thought_signature in functionCall parts.")


def _check_part(part: dict[str, Any], role: str) -> None:
    _known(part, _PARTS, "contents[0].parts[0]")
    kinds = set(part) - {"thought", "thoughtSignature"}
    _demand(len(kinds) == 1, "contents.parts: a part has exactly one kind of data")
    if "text" in part:
        _demand(part["text"], "contents.parts: text must not be empty")
    if call := part.get("functionCall"):
        _demand(role == "model", "function calls belong to the model")
        _known(call, {"id", "name", "args"}, "contents[0].parts[0].function_call")
        _demand(isinstance(call.get("args", {}), dict), "function_call.args: must be an object")
        given = part.get("thoughtSignature")
        right = given in (None, FOREIGN_CALL, signature(call["name"], call.get("args") or {}))
        _demand(right, "Thought signature is not valid")
    if response := part.get("functionResponse"):
        _demand(role == "user", "function responses belong to the user")
        _known(response, {"id", "name", "response"}, "contents[0].parts[0].function_response")
        _demand(isinstance(response["response"], dict), "function_response.response: must be an object")


def _asked(body: dict[str, Any], model: str, streams: bool, paused: bool) -> Asked:
    contents = body["contents"]
    if paused:
        following = int(base64.urlsafe_b64decode(body["continuationToken"])[5:])
        return Asked(model, [_texts(contents[0])], f"k0.{following - 1} ", streams, [model, contents], paused)
    prefix, rest = "", contents
    last = contents[-1]
    if last["role"] == "model":
        prefix, rest = _texts(last), contents[:-1]
    elif len(contents) > 2 and contents[-2]["role"] == "model":
        instruction = _texts(last).lower()
        if "continue" in instruction and "exactly" in instruction:
            prefix, rest = _texts(contents[-2]), contents[:-2]
    texts = [_texts(content) for content in contents if content["role"] == "user"]
    return Asked(model, texts, prefix, streams, [model, rest])


def _texts(content: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in content["parts"])


@dataclass
class FakeGemini(FakeServer):
    """The fake as a thread."""

    def dialect(self) -> Dialect:
        return Gemini(self.api_key)


if __name__ == "__main__":
    main(Gemini)
