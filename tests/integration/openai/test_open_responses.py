"""The published behaviours of Open Responses (openresponses.org): basic, streamed, with tools, over several turns."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.integration.openai.test_programs import Site, site

__all__ = ["site"]

REQUIRED = {
    "id", "object", "created_at", "status", "error", "incomplete_details", "instructions", "max_output_tokens", "model",
    "output", "parallel_tool_calls", "previous_response_id", "reasoning", "store", "temperature", "text", "tool_choice",
    "tools", "top_p", "truncation", "usage", "metadata",
}  # fmt: skip
TOOL = {"type": "function", "name": "get_weather", "description": "Weather", "parameters": {"type": "object"}}


def create(site: Site, **body: Any) -> dict[str, Any]:
    return site.client().responses.create(model="fake?tokens=3", **body).model_dump()


def checked(response: dict[str, Any]) -> dict[str, Any]:
    assert response.keys() >= REQUIRED
    assert response["object"] == "response"
    assert (response["status"], response["error"]) == ("completed", None)
    return response


def test_basic_text(site: Site) -> None:
    response = checked(create(site, input=[{"type": "message", "role": "user", "content": "Say hello"}]))
    (message,) = response["output"]
    assert (message["type"], message["role"], message["status"]) == ("message", "assistant", "completed")
    assert message["content"][0]["type"] == "output_text"
    usage = response["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_the_order_and_the_fields_of_streamed_events(site: Site) -> None:
    events = [e.model_dump() for e in site.client().responses.create(model="fake?tokens=3", input="x", stream=True)]
    kinds = [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    deltas = kinds.count("response.output_text.delta")
    assert deltas >= 1
    assert kinds == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        *["response.output_text.delta"] * deltas, "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.completed",
    ]  # fmt: skip
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    for event in events[2:-1]:
        assert event["output_index"] == 0
        if "content_index" in event:
            assert (event["content_index"], event["item_id"]) == (0, events[2]["item"]["id"])
    assert checked(events[-1]["response"])["output"][0]["content"][0]["text"] == text


def test_a_system_prompt_reaches_the_model(site: Site) -> None:
    said = [
        {"type": "message", "role": "system", "content": "Talk like a pirate."},
        {"type": "message", "role": "user", "content": "pirate hello"},
    ]
    checked(create(site, input=said))
    (call,) = site.calls("pirate hello")
    assert [message["role"] for message in call.body["messages"]] == ["system", "user"]
    assert call.body["messages"][0]["content"] == "Talk like a pirate."


def test_a_tool_is_called_with_its_arguments(site: Site) -> None:
    call = json.dumps({"name": "get_weather", "arguments": {"city": "Oslo"}})
    model = f"fake?tool_call={call}&tokens=0&finish=tool_calls"
    response = site.client().responses.create(model=model, input="weather", tools=[TOOL])
    (item,) = [one.model_dump() for one in response.output if one.type == "function_call"]
    assert (item["name"], json.loads(item["arguments"]), item["status"]) == (
        "get_weather", {"city": "Oslo"}, "completed",
    )  # fmt: skip
    assert item["call_id"]


def test_several_turns_reach_the_model(site: Site) -> None:
    said = [
        {"type": "message", "role": "user", "content": "My name is Alice."},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello Alice!"}]},
        {"type": "message", "role": "user", "content": "open turns: what is my name?"},
    ]
    checked(create(site, input=said))
    (call,) = site.calls("open turns")
    assert [message["role"] for message in call.body["messages"]] == ["user", "assistant", "user"]


def test_an_image_is_refused_by_its_place(site: Site) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    content = [{"type": "input_text", "text": "What is it?"}, image]
    with pytest.raises(openai.BadRequestError) as refused:
        create(site, input=[{"type": "message", "role": "user", "content": content}])
    assert refused.value.param == "input[0].content[1].image_url"
