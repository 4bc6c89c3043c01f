"""A parameter that an upstream refuses by name is found in every shape of a refusal, and nothing else is."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.providers.chat import capabilities
from worker.providers.chat.capabilities import PREFILL, STREAM, SYSTEM_ROLE, lacking, without
from worker.providers.learning.refusals import refused_name

NAMES = ("stream_options", "max_tokens", "temperature", "top_p", "parallel_tool_calls", "reasoning_content")
# Sentences of servers, as they are written around a name.
SENTENCES = (
    "Unsupported parameter: '{}' is not supported with this model. Use 'another_name' instead.",
    "Unsupported parameter: '{}' is not supported with this model.",
    "Unrecognized request argument supplied: {}",
    "Unknown parameter: '{}'.",
    'Invalid JSON payload received. Unknown name "{}": Cannot find field.',
    "Invalid JSON payload received. Unknown name \"{}\" at 'messages[0]': Cannot find field.",
    "property '{}' is unsupported",
    "'messages.1' : for 'role:user' the following must be satisfied[('messages.1' : property '{}' is unsupported)]",
    'json: unknown field "{}"',
    'Bad request: json: unknown field "{}"\n',
    "Failed to deserialize the JSON body: unknown field `{}`, expected one of `model`, `top_p`, `max_tokens` at line 1",
    "Extra inputs are not permitted, field: '{}', value: {{'include_usage': True}}",
    "{}: Extra inputs are not permitted",
    "1 validation error for Request\n{}\n  Extra inputs are not permitted [type=extra_forbidden, input_value='top_p']",
    "[{{'type': 'extra_forbidden', 'loc': ('body', '{}'), 'msg': 'Extra inputs are not permitted', 'input': 'top_p'}}]",
    "Malformed input request: #: extraneous key [{}] is not permitted, please reformat your input and try again.",
    "Additional properties are not allowed ('{}' was unexpected)",
    "additional properties '{}' not allowed",
    "create() got an unexpected keyword argument '{}'",
    "Argument not supported on this model: {}",
    "Model grok does not support parameter {}.",
    "litellm.BadRequestError: OpenAIException - Unsupported parameter: '{}' is not supported with this model.",
    "litellm.UnsupportedParamsError: azure does not support parameters: ['{}'], for model=m. Drop these.",
    "The parameter `{}` is not supported by this model.",
    "{} is not allowed",
    "{} is not supported, please use 'other' instead",
    "Validation failed: parameter {} isn't supported here",
    "Sorry, this endpoint doesn't support {} yet",
    "`{}` is deprecated for this model.",
    "invalid {}: only 1 is allowed for this model",
    "`{}` may only be set to 1 when thinking is enabled. Please consult our documentation",
)
# The same refusals with the name in a field of its own.
STRUCTURES = (
    lambda name: {"detail": [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted",
                              "input": {"include_usage": True}}]},
    lambda name: {"object": "error", "type": "invalid_request_error", "message": {"detail": [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": 1}]}},
    lambda name: {"detail": [{"type": "value_error.extra", "loc": ["body", name], "msg": "extra fields"}]},
    lambda name: {"error": {"message": "Bad Request", "param": name, "code": "unsupported_parameter"}},
    lambda name: {"error": {"message": "Nope.", "param": name, "code": "unknown_parameter"}},
    lambda name: {"error": {"message": "Only the default (1) value is supported.", "param": name,
                            "code": "unsupported_value"}},
    lambda name: [{"instancePath": "", "keyword": "additionalProperties", "params": {"additionalProperty": name},
                   "message": "must NOT have additional properties"}],
    lambda name: {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": orjson.dumps(
        {"error": {"message": f"Unknown parameter: '{name}'.", "param": name}}).decode()}}},
)  # fmt: skip
# What stands around a sentence.
FRAMES = (
    lambda text: {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}},
    lambda text: [{"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}}],
    lambda text: {"object": "error", "message": text, "type": "BadRequestError", "param": None, "code": 400},
    lambda text: {"detail": text},
    lambda text: {"error": text},
    lambda text: {"type": "error", "error": {"type": "invalid_request_error", "message": text}},
    lambda text: {"error_code": "BAD_REQUEST", "message": text},
    lambda text: {"error": {"message": orjson.dumps({"error": {"message": text}}).decode()}},
    lambda text: text,
    lambda text: orjson.dumps({"message": text}),
    lambda text: text.encode(),
)
BODIES = [frame(sentence.format(name)) for frame in FRAMES for sentence in SENTENCES for name in NAMES]
BODIES_BY_NAME = [(frame(s.format(name)), name) for frame in FRAMES for s in SENTENCES for name in NAMES]
BODIES_BY_NAME += [(structure(name), name) for structure in STRUCTURES for name in NAMES]


def test_the_name_is_found_in_every_shape() -> None:
    missed = [(name, body) for body, name in BODIES_BY_NAME if refused_name(body, NAMES) != name]
    assert not missed


def test_a_name_in_camel_case_is_found() -> None:
    said = {"error": "Argument not supported on this model: presencePenalty"}
    assert refused_name(said, ["presence_penalty"]) == "presence_penalty"


def test_another_name_is_not_taken_for_one_that_was_sent() -> None:
    others = [name for name in NAMES if name != "stream_options"]
    wrong = [
        (body, found)
        for body, name in BODIES_BY_NAME
        if name == "stream_options" and (found := refused_name(body, others))
    ]
    assert not wrong


@pytest.mark.parametrize(
    "said",
    [
        "max_tokens is too large: 100000. This model supports at most 4096 completion tokens, whereas you gave 100000.",
        "Invalid type for 'max_tokens': expected an integer, but got a string instead.",
        "temperature: Input should be less than or equal to 2",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
        "'max_tokens' must be at least 1 and not exceed 4096, unknown value given",
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (max_tokens 1000).",
        "The model `temperature` does not exist or you do not have access to it.",
        "Unknown parameter: 'top_kk'.",
        "Unsupported parameter: 'logit_bias' is not supported when max_tokens is set.",
        "Rate limit reached",
        "",
    ],
)
def test_a_refused_value_is_no_refused_parameter(said: str) -> None:
    for frame in FRAMES:
        assert refused_name(frame(said), NAMES) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(NAMES),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["loc", "type", "param", "code", "message"]), inner)
    ),
    max_leaves=20,
)


@given(JSON | st.binary(max_size=200) | st.text(max_size=200))
def test_no_document_is_too_odd(document: Any) -> None:
    assert refused_name(document, NAMES) in {None, *NAMES}


@given(st.sampled_from(BODIES), st.integers(0, 300), st.text(max_size=20))
def test_a_damaged_refusal_names_what_was_sent_or_nothing(body: Any, at: int, junk: str) -> None:
    text = body if isinstance(body, str) else (body if isinstance(body, bytes) else orjson.dumps(body)).decode()
    assert refused_name(text[:at] + junk + text[at:], NAMES) in {None, *NAMES}


# --- what a request can do without

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Hm",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}, "extra_content": {"a": 1}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": "x"},
]
BODY: dict[str, Any] = {
    "model": "m",
    "messages": MESSAGES,
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 5,
    "temperature": 0.2,
    "tools": [],
    "tool_choice": "auto",
    "top_k": 4,
    "stop": ["x"],
}


def refusing(name: str) -> dict[str, Any]:
    return {"error": {"message": f"Unsupported parameter: '{name}' is not supported with this model."}}


@pytest.mark.parametrize("name", ["top_k", "stop", "tools", "messages", "model", "seed"])
def test_a_parameter_that_changes_the_answer_is_the_clients(name: str) -> None:
    assert lacking(refusing(name), BODY) is None


@pytest.mark.parametrize("name", ["stream_options", "temperature", "tool_choice"])
def test_what_says_nothing_or_is_a_wish_is_left_out(name: str) -> None:
    assert lacking(refusing(name), BODY) == name
    assert without({name}, BODY) == {field: value for field, value in BODY.items() if field != name}
    assert lacking(refusing("tool_choice"), BODY | {"tool_choice": "required"}) is None
    assert without({"tool_choice"}, BODY | {"tool_choice": "required"})["tool_choice"] == "required"


def test_a_limit_is_renamed_and_never_dropped() -> None:
    assert lacking(refusing("max_tokens"), BODY) == "max_tokens"
    renamed = without({"max_tokens"}, BODY)
    assert renamed["max_completion_tokens"] == 5
    assert "max_tokens" not in renamed
    assert without({"max_completion_tokens"}, renamed)["max_tokens"] == 5
    both = frozenset({"max_tokens", "max_completion_tokens"})
    assert without(both, BODY)["max_tokens"] == 5
    twice = without({"max_tokens"}, BODY | {"max_completion_tokens": 3})
    assert (twice["max_completion_tokens"], "max_tokens" in twice) == (3, False)


@pytest.mark.parametrize("name", ["reasoning_content", "extra_content"])
def test_what_upstreams_gave_is_kept_from_those_that_refuse_it(name: str) -> None:
    assert lacking(refusing(name), BODY) == name
    assert name in orjson.dumps(BODY).decode()
    assert name not in orjson.dumps(without({name}, BODY)).decode()


@pytest.mark.parametrize(
    "said",
    [
        "System role not supported",
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "Developer instruction is not enabled for models/gemma-3-27b-it",
        'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter',
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "This model does not support system messages.",
        "Only user and assistant roles are supported!",
    ],
)
def test_a_system_message_becomes_the_beginning_of_the_users(said: str) -> None:
    for frame in FRAMES:
        assert lacking(frame(said), BODY) == SYSTEM_ROLE
    messages = without({SYSTEM_ROLE}, BODY)["messages"]
    assert messages == [{"role": "user", "content": "Be brief.\n\nHi"}, *MESSAGES[2:]]
    assert lacking(said, BODY | {"messages": MESSAGES[1:]}) is None
    parts = [MESSAGES[0], {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    merged = without({SYSTEM_ROLE}, BODY | {"messages": parts})["messages"]
    assert merged == [{"role": "user", "content": [{"type": "text", "text": t} for t in ("Be brief.", "Hi")]}]


def test_a_system_message_in_the_wrong_place_is_another_error() -> None:
    assert lacking("System message must be at the beginning.", BODY) is None


@pytest.mark.parametrize(
    "said",
    [
        "This model does not support assistant message prefill. The conversation must end with a user message.",
        "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant",
        "Assistant response prefill is incompatible with enable_thinking.",
        "The last message must be from the user",
        "final message must have role user",
    ],
)
def test_a_prefix_is_continued_by_an_instruction(said: str) -> None:
    prefilled = BODY | {"messages": [*MESSAGES[:2], {"role": "assistant", "content": "Hel"}]}
    for frame in FRAMES:
        assert lacking(frame(said), prefilled) == PREFILL
    assert lacking(said, BODY) is None
    assert lacking(refusing("continue_final_message"), prefilled | {"continue_final_message": True}) == PREFILL


def test_a_model_that_may_not_stream_answers_in_one_document() -> None:
    said = {
        "error": {
            "message": "Your organization must be verified to stream this model. Please go to: https://example.com",
            "type": "invalid_request_error",
            "param": "stream",
            "code": "unsupported_value",
        }
    }
    assert lacking(said, BODY) == STREAM
    changed = without({STREAM}, BODY)
    assert (changed["stream"], "stream_options" in changed) == (False, False)


CAPABILITIES = (*capabilities.LEFT_OUT, *capabilities.TOKEN_LIMITS, *capabilities.OF_MESSAGES, SYSTEM_ROLE, STREAM)


@given(st.sets(st.sampled_from(CAPABILITIES)))
def test_leaving_out_twice_is_leaving_out_once(lacks: set[str]) -> None:
    before = orjson.dumps(BODY)
    once = without(lacks, BODY)
    assert without(lacks, once) == once or {"max_tokens", "max_completion_tokens"} & lacks
    assert orjson.dumps(BODY) == before
    assert {"model", "tools", "top_k", "stop"} <= once.keys()
    assert len({"max_tokens", "max_completion_tokens"} & once.keys()) == 1
