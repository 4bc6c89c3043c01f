"""Requests for Anthropic's and Gemini's own APIs: each history becomes one that the strict API accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.answer_format import AnswerFormat
from tests.fakes import anthropic as fake_anthropic
from tests.fakes import gemini as fake_gemini
from tests.fakes.native import signature
from worker.providers.anthropic import request as anthropic_request
from worker.providers.anthropic.abilities import ADAPTIVE, MAX_TOKENS, Abilities, lacking
from worker.providers.anthropic.provider import room_left
from worker.providers.base import ChatMessage, Prompt, ProviderError, ToolCall
from worker.providers.gemini import request as gemini_request
from worker.providers.gemini.provider import answering
from worker.providers.reading.native_usage import usage_of

TOOL = {"type": "function", "function": {"name": "get", "description": "Get it.", "parameters": {"type": "object"}}}
MODELS = {"anthropic": ("fake", "manual-fake", "old-fake"), "gemini": ("gemini-2.5-fake", "gemini-3-fake", "fake")}
VERSIONS = ("2023-06-01", "2026-10-21")


# --- any history

texts = st.sampled_from(["", " ", "Hello", "日本 🙂\n", "a\x00b", "  x  "])
names = st.sampled_from(["get", "find"])
arguments = st.sampled_from(["", "{}", '{"city":"Oslo"}', '{"city": "Os', "[1]", "null"])
ids = st.sampled_from(["call_1", "functions.get:0", "", "x" * 90, "toolu_1", "é"])


@st.composite
def calls(draw: st.DrawFn, number: int) -> ToolCall:
    name, said = draw(names), draw(arguments)
    kind = draw(st.sampled_from(["none", "openai", "anthropic", "gemini"]))
    extra: dict[str, Any] | None = None
    call_id = f"{draw(ids)}{number}"
    if kind == "openai":
        extra = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    elif kind == "anthropic":
        thought = draw(texts)
        extra = {
            "anthropic": {"thinking": [{"type": "thinking", "thinking": thought, "signature": signature(thought)}]}
        }
    elif kind == "gemini":
        said = draw(st.sampled_from(['{"city":"Oslo"}', "{}"]))
        extra = {"gemini": {"thoughtSignature": signature(name, json.loads(said)), "id": f"fc-{number}"}}
    return ToolCall(call_id, name, said, extra)


@st.composite
def histories(draw: st.DrawFn) -> tuple[ChatMessage, ...]:
    """A conversation that ends with the user, or in the middle of a tool loop."""
    messages = [ChatMessage(draw(st.sampled_from(["system", "user", "assistant"])), draw(texts)) for _ in range(2)]
    for number in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            messages.append(ChatMessage(draw(st.sampled_from(["user", "assistant"])), draw(texts)))
            continue
        made = tuple(draw(calls(10 * number + n)) for n in range(draw(st.integers(1, 3))))
        messages.append(ChatMessage("user", "Go on"))
        for _ in range(draw(st.integers(1, 2))):
            messages.append(ChatMessage("assistant", draw(texts), made))
            messages += [ChatMessage("tool", draw(texts), tool_call_id=call.call_id) for call in made]
            made = tuple(draw(calls(1000 + 10 * number + n)) for n in range(2))
    if draw(st.booleans()):
        messages.append(ChatMessage("user", draw(texts)))
    elif messages[-1].role not in ("user", "tool"):
        messages.append(ChatMessage("user", "Well?"))
    return tuple(messages)


parameters = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 1]),
        "max_tokens": st.sampled_from([-1, 100, 4000]),
        "max_completion_tokens": st.just(5000),
        "stop": st.sampled_from(["END", ["END", "STOP"]]),
        "tools": st.just([TOOL]),
        "tool_choice": st.sampled_from(["auto", "none"]),
        "parallel_tool_calls": st.booleans(),
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "high", "xhigh"]),
        "presence_penalty": st.just(0),
        "logit_bias": st.just({}),
        "service_tier": st.just("auto"),
        "user": st.just("u1"),
        "metadata": st.just({"a": "b"}),
        "n": st.just(1),
    },
)
formats = st.sampled_from(
    [None, AnswerFormat(), AnswerFormat({"type": "object", "properties": {"a": {"type": ["object", "null"]}}})]
)


def prompts(kind: str) -> st.SearchStrategy[Prompt]:
    prefixes = st.sampled_from(["", "k1.0 k1.1 ", "Hel"])
    return st.builds(Prompt, st.sampled_from(MODELS[kind]), histories(), parameters, prefixes, formats)


def sane(prompt: Prompt) -> bool:
    """Thinking demands the temperature 1 by the rules of the API: the client reads its refusal."""
    thinks = prompt.parameters.get("reasoning_effort", "none") != "none"
    return not (thinks and prompt.parameters.get("temperature") == 0)


@settings(max_examples=100)
@given(prompts("anthropic").filter(sane), st.sampled_from(VERSIONS))
def test_anthropic_accepts_each_history(prompt: Prompt, version: str) -> None:
    prefills = prompt.model == "old-fake"
    abilities = Abilities(prefills=prefills, adapts=prompt.model != "manual-fake", samples=version == VERSIONS[0])
    body = anthropic_request.request_body(prompt, abilities)
    asked = fake_anthropic.check_body(json.loads(json.dumps(body)), version)
    if prompt.prefix:
        assert asked.prefix.endswith(prompt.prefix.rstrip())


@settings(max_examples=100)
@given(prompts("gemini"), st.booleans())
def test_gemini_accepts_each_history(prompt: Prompt, prefill: bool) -> None:
    body = gemini_request.request_body(prompt, prefill=prefill)
    asked = fake_gemini.check_body(json.loads(json.dumps(body)), prompt.model)
    if prompt.prefix:
        assert asked.prefix.endswith(prompt.prefix)


# --- by example


def loop(extra: dict[str, Any] | None, call_id: str = "c1") -> tuple[ChatMessage, ...]:
    call = ToolCall(call_id, "get", '{"city":"Oslo"}', extra)
    return (
        ChatMessage("system", "Be kind."),
        ChatMessage("user", "Weather?"),
        ChatMessage("assistant", "I look.", (call,)),
        ChatMessage("tool", "rain", tool_call_id=call_id),
    )


def anthropic_body(messages: tuple[ChatMessage, ...], /, **given: Any) -> dict[str, Any]:
    form = given.pop("answer_format", None)
    return anthropic_request.request_body(Prompt("fake", messages, given, "", form), Abilities())


def gemini_body(messages: tuple[ChatMessage, ...], /, model: str = "gemini-3", **given: Any) -> dict[str, Any]:
    form = given.pop("answer_format", None)
    return gemini_request.request_body(Prompt(model, messages, given, "", form))


HELLO = (ChatMessage("user", "Hello"),)
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "sig"}
REDACTED = {"type": "redacted_thinking", "data": "abc"}
FOREIGN = {"extra_content": {"google": {"thought_signature": "c2ln"}}}


def test_thoughts_go_back_unchanged_before_their_call() -> None:
    body = anthropic_body(loop({"anthropic": {"thinking": [THOUGHT, REDACTED]}}), tools=[TOOL])
    assert body["system"] == "Be kind."
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                THOUGHT,
                REDACTED,
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": "get", "input": {"city": "Oslo"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "rain"}]},
    ]


def test_a_signature_goes_back_unchanged_with_its_call() -> None:
    body = gemini_body(loop({"gemini": {"thoughtSignature": "sig", "id": "fc-1"}}))
    call, result = body["contents"][1]["parts"][1], body["contents"][2]["parts"][0]
    given = {"functionCall": {"name": "get", "args": {"city": "Oslo"}, "id": "fc-1"}, "thoughtSignature": "sig"}
    assert call == given
    assert result == {"functionResponse": {"name": "get", "response": {"output": "rain"}, "id": "fc-1"}}


@pytest.mark.parametrize("extra", [None, FOREIGN, {"gemini": {"thoughtSignature": "sig"}}])
def test_what_another_upstream_gave_is_left_out_for_anthropic(extra: dict[str, Any] | None) -> None:
    sent = json.dumps(anthropic_body(loop(extra), tools=[TOOL]))
    assert "sig" not in sent
    assert "c2ln" not in sent


@pytest.mark.parametrize("extra", [None, FOREIGN, {"anthropic": {"thinking": [THOUGHT]}}])
def test_what_another_upstream_gave_is_left_out_for_gemini(extra: dict[str, Any] | None) -> None:
    sent = json.dumps(gemini_body(loop(extra)))
    assert "hm" not in sent
    assert "c2ln" not in sent
    assert gemini_request.FOREIGN_CALL in sent
    assert "thoughtSignature" not in json.dumps(gemini_body(loop(extra), model="gemini-2.5-pro"))


def test_a_loop_that_began_without_thoughts_goes_on_without_them() -> None:
    manual = {"type": "enabled", "budget_tokens": 2000}
    assert anthropic_body(loop(None), tools=[TOOL], thinking=manual)["thinking"] == {"type": "disabled"}
    own = {"anthropic": {"thinking": [THOUGHT]}}
    assert anthropic_body(loop(own), tools=[TOOL], thinking=manual)["thinking"] == manual


def test_a_history_with_calls_describes_their_tools() -> None:
    body = anthropic_body(loop(None))
    assert body["tools"] == [{"name": "get", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("choice", "anthropic", "gemini"),
    [
        ("auto", {"type": "auto"}, {"mode": "AUTO"}),
        ("none", {"type": "none"}, {"mode": "NONE"}),
        ("required", {"type": "any"}, {"mode": "ANY"}),
        ({"type": "any"}, {"type": "any"}, {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "get"}},
            {"type": "tool", "name": "get"},
            {"mode": "ANY", "allowedFunctionNames": ["get"]},
        ),
    ],
)
def test_the_choice_of_a_tool(choice: Any, anthropic: Any, gemini: Any) -> None:
    assert anthropic_body(HELLO, tools=[TOOL], tool_choice=choice)["tool_choice"] == anthropic
    calling = gemini_body(HELLO, tools=[TOOL], tool_choice=choice)["toolConfig"]
    assert calling == {"functionCallingConfig": gemini}


def test_one_call_at_a_time() -> None:
    body = anthropic_body(HELLO, tools=[TOOL], parallel_tool_calls=False)
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    prompt = Prompt("m", HELLO, {"tools": [TOOL], "parallel_tool_calls": False})
    assert gemini_request.most_calls(prompt) == 1


@pytest.mark.parametrize(
    ("given", "anthropic", "gemini"),
    [
        (
            {"reasoning_effort": "high"},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}},
            {"includeThoughts": True, "thinkingLevel": "high"},
        ),
        (
            {"reasoning": {"effort": "minimal"}},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
            {"includeThoughts": True, "thinkingLevel": "minimal"},
        ),
        (
            {"reasoning_effort": "none"},
            {"thinking": {"type": "disabled"}},
            {"includeThoughts": False, "thinkingLevel": "minimal"},
        ),
        (
            {"reasoning": {"max_tokens": 3000}},
            {"thinking": {"type": "enabled", "budget_tokens": 3000}},
            {"includeThoughts": True, "thinkingBudget": 3000},
        ),
    ],
)
def test_the_effort_of_reasoning(given: Any, anthropic: Any, gemini: Any) -> None:
    body = anthropic_body(HELLO, **given)
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == anthropic
    assert gemini_body(HELLO, **given)["generationConfig"]["thinkingConfig"] == gemini


def test_names_of_parameters() -> None:
    given = {"max_tokens": 9, "stop": "END", "temperature": 0.5, "top_p": 0.9, "user": "u", "seed": 7, "top_k": 3}
    body = anthropic_body(HELLO, **given)
    assert (body["max_tokens"], body["stop_sequences"], body["metadata"]) == (9, ["END"], {"user_id": "u"})
    assert (body["temperature"], body["top_p"], body["top_k"], body["seed"]) == (0.5, 0.9, 3, 7)
    assert gemini_body(HELLO, **given, safetySettings=[])["generationConfig"] == {
        "maxOutputTokens": 9,
        "stopSequences": ["END"],
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 3,
        "seed": 7,
    }
    assert gemini_body(HELLO, safetySettings=[])["safetySettings"] == []
    assert anthropic_body(HELLO)["max_tokens"] == MAX_TOKENS


def test_a_later_version_gets_no_sampling() -> None:
    prompt = Prompt("m", HELLO, {"temperature": 1, "top_p": 1, "top_k": 5})
    assert not {"temperature", "top_p", "top_k"} & set(anthropic_request.request_body(prompt, Abilities(samples=False)))


def test_json_answers() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object"}, "b": {"enum": [{"type": "object"}]}}}
    form = anthropic_body(HELLO, answer_format=AnswerFormat(schema))["output_config"]["format"]
    closed = {"type": "object", "additionalProperties": False}
    assert form["type"] == "json_schema"
    assert form["schema"] == {**closed, "properties": {"a": closed, "b": {"enum": [{"type": "object"}]}}}
    assert anthropic_body(HELLO, answer_format=AnswerFormat())["system"] == anthropic_request.JSON_INSTRUCTION
    config = gemini_body(HELLO, answer_format=AnswerFormat(schema))["generationConfig"]
    assert config == {"responseMimeType": "application/json", "responseJsonSchema": schema}


def test_ids_that_only_another_upstream_takes() -> None:
    body = anthropic_body(loop(None, "functions.get:0"), tools=[TOOL])
    assert (
        body["messages"][1]["content"][1]["id"] == body["messages"][2]["content"][0]["tool_use_id"] == "functions_get_0"
    )


SENT = {
    "messages": [{"role": "assistant"}],
    "max_tokens": 32_000,
    "temperature": 0.5,
    "thinking": {"type": "adaptive"},
    "seed": 1,
}


@pytest.mark.parametrize(
    ("message", "lacks", "less"),
    [
        ("This model does not support assistant message prefill.", "prefill", Abilities(prefills=False)),
        ("adaptive thinking is not supported on this model", ADAPTIVE, Abilities(prefills=True, adapts=False)),
        ("max_tokens: 32000 > 8192, which is the maximum", "max_tokens 8192", Abilities(8192, prefills=True)),
        ("`temperature` is deprecated for this model.", "temperature", Abilities(prefills=True)),
        ("seed: Extra inputs are not permitted", None, None),
        ("temperature: range: 0..1", None, None),
    ],
)
def test_refusals_teach(message: str, lacks: str | None, less: Abilities | None) -> None:
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    assert lacking(json.dumps(refusal).encode(), SENT) == lacks
    assert lacks is None or Abilities(prefills=True).without({lacks}) == less


def test_refusals_of_gemini_teach() -> None:
    refusal = b'{"error": {"code": 400, "message": "Thinking level is not supported for this model."}}'
    body = gemini_body(HELLO, reasoning_effort="low", temperature=1)
    assert gemini_request.lacking(refusal, body) == gemini_request.LEVELS
    less = gemini_request.request_body(
        Prompt("gemini-3", HELLO, {"reasoning_effort": "low", "temperature": 1}),
        lacks={gemini_request.LEVELS, "temperature"},
    )
    assert less["generationConfig"] == {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024}}


def test_room_behind_a_long_prompt() -> None:
    message = "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease input length"
    assert room_left(ProviderError("upstream_rejected", message, retryable=False, upstream_status=400)) == 10_000
    assert room_left(ProviderError("upstream_rejected", "no", retryable=False, upstream_status=400)) is None


def test_cached_tokens_are_a_part_of_the_input() -> None:
    counts = {"input_tokens": 3, "cache_creation_input_tokens": 4, "cache_read_input_tokens": 5, "output_tokens": 6}
    usage = usage_of(counts)
    assert usage is not None
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens) == (12, 5, 6)
    odd = usage_of({"input_tokens": "x", "output_tokens": 10**30})
    assert odd is not None
    assert odd.input_tokens == 0


def test_models_that_answer() -> None:
    body = b'{"models":[{"name":"models/e","supportedGenerationMethods":["embedContent"]},{"name":"models/m"},3]}'
    assert json.loads(answering(body)) == {"models": [{"name": "m"}]}
    assert answering(b"[]") == b"[]"
