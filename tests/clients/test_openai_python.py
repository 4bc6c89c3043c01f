"""OpenAI's Python SDK, unmodified and with strict types, against a real instance."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import openai
import pytest
from openai import OpenAI

from tests.clients.conftest import Site
from tests.fakes.proxy import TcpProxy

pytestmark = pytest.mark.slow

TOOL = {
    "type": "function",
    "name": "add",
    "description": "Adds numbers.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "number"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "strict": True,
}
# A model whose answer takes some seconds.
SLOW = "offline"
QUICK = "offline-fast"
# One that nobody hears the end of: it is cancelled.
ENDLESS = "fake?tokens=20000&rate=20"
CALLING = 'fake?tool_call={"name":"add","arguments":{"a":1}}&tokens=3&rate=0&finish=tool_calls'


@pytest.fixture
def client(site: Site) -> OpenAI:
    return connect(site)


def connect(site: Site, user: str = "alice", base_url: str | None = None, **options: Any) -> OpenAI:
    url = base_url or site.base_url
    return OpenAI(base_url=url, api_key=site.key(user), _strict_response_validation=True, **options)


def text_of(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def test_create_waits_for_the_answer_and_retrieve_gives_the_same_object(client: OpenAI) -> None:
    response = client.responses.create(
        model=QUICK,
        input=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        instructions="Answer in English.",
        metadata={"ticket": "7"},
        temperature=0.3,
        top_p=0.9,
        max_output_tokens=50_000,
        reasoning={"effort": "low"},
        text={"format": {"type": "text"}},
        user="u1",
    )
    assert (response.status, response.error, response.background) == ("completed", None, False)
    assert (response.temperature, response.metadata, response.instructions) == (
        0.3,
        {"ticket": "7"},
        "Answer in English.",
    )
    assert len(response.output_text) > 200
    assert response.usage is not None
    assert response.usage.total_tokens > 0
    assert client.responses.retrieve(response.id) == response
    assert response._request_id


def test_stream_says_what_the_object_has(client: OpenAI) -> None:
    events = list(client.responses.create(model=QUICK, input="Hello", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == text_of(events)
    assert client.responses.retrieve(last.response.id) == last.response


def test_a_background_stream_dropped_midway_goes_on_where_it_was(client: OpenAI) -> None:
    seen: list[Any] = []
    with client.responses.create(model=SLOW, input="Tell me", background=True, stream=True) as stream:
        for event in stream:
            seen.append(event)
            if len(seen) == 20:
                break
    response_id = seen[0].response.id
    rest = list(client.responses.retrieve(response_id, stream=True, starting_after=seen[-1].sequence_number))
    together = seen + rest
    assert [event.sequence_number for event in together] == list(range(len(together)))
    assert together == list(client.responses.retrieve(response_id, stream=True))
    assert text_of(together) == client.responses.retrieve(response_id).output_text
    assert list(client.responses.retrieve(response_id, stream=True, starting_after=together[-1].sequence_number)) == []


def test_a_connection_cut_by_the_network_raises_and_can_be_resumed(site: Site) -> None:
    with TcpProxy.before(site.web.url) as proxy:
        client = connect(site, base_url=f"{proxy.url(site.web.url)}/v1", max_retries=0)
        seen: list[Any] = []

        def read() -> None:
            for event in client.responses.create(model=SLOW, input="Cut me", background=True, stream=True):
                seen.append(event)
                if len(seen) == 20:
                    proxy.cut()

        with pytest.raises(openai.APIConnectionError):
            read()
        response_id = seen[0].response.id
        rest = list(client.responses.retrieve(response_id, stream=True, starting_after=seen[-1].sequence_number))
        assert text_of(seen + rest) == client.responses.retrieve(response_id).output_text


def test_a_closed_foreground_stream_does_not_stop_the_answer(client: OpenAI) -> None:
    with client.responses.create(model=SLOW, input="Leave me", stream=True) as stream:
        response_id = next(iter(stream)).response.id
    assert polled(client, response_id).status == "completed"


def polled(client: OpenAI, response_id: str, timeout: float = 120) -> Any:
    deadline = time.monotonic() + timeout
    while (response := client.responses.retrieve(response_id)).status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return response


def test_background_is_answered_at_once_and_polled(client: OpenAI) -> None:
    response = client.responses.create(model=SLOW, input="Poll me", background=True)
    assert response.status in ("queued", "in_progress")
    done = polled(client, response.id)
    assert (done.status, done.id, done.created_at) == ("completed", response.id, response.created_at)


def test_cancel_midway_keeps_what_was_said_and_ends_the_stream(client: OpenAI) -> None:
    seen: list[Any] = []
    for event in client.responses.create(model=ENDLESS, input="Cancel me", background=True, stream=True):
        seen.append(event)
        if len(seen) == 20:
            cancelled = client.responses.cancel(seen[0].response.id)
            assert cancelled.status == "cancelled"
    assert (seen[-1].type, seen[-1].response.status) == ("response.incomplete", "cancelled")
    assert seen[-1].response.output_text == text_of(seen)
    again = client.responses.cancel(cancelled.id)
    assert again == cancelled == client.responses.retrieve(cancelled.id) == seen[-1].response


def test_cancelling_what_has_ended_changes_nothing(client: OpenAI) -> None:
    response = client.responses.create(model=QUICK, input="Hello")
    assert client.responses.cancel(response.id) == response


def test_the_same_idempotency_key_is_the_same_response(site: Site, client: OpenAI) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    first = client.responses.create(model=QUICK, input="Once", extra_headers=key)
    assert client.responses.create(model=QUICK, input="Once", extra_headers=key) == first
    streamed = list(client.responses.create(model=QUICK, input="Once", stream=True, extra_headers=key))
    assert (streamed[0].sequence_number, streamed[-1].response) == (0, first)
    with pytest.raises(openai.UnprocessableEntityError):
        client.responses.create(model=QUICK, input="Twice", extra_headers=key)
    other = connect(site, "bob").responses.create(model=QUICK, input="Once", extra_headers=key)
    assert other.id != first.id


def test_simultaneous_requests_with_one_key_are_one_response(client: OpenAI) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    found: list[str] = []

    def ask() -> None:
        found.append(client.responses.create(model=QUICK, input="Together", extra_headers=key).id)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert (len(found), len(set(found))) == (4, 1)


def test_a_lost_answer_is_found_by_the_sdks_own_retry_with_the_key(site: Site) -> None:
    with TcpProxy.before(site.web.url) as proxy:
        client = connect(site, base_url=f"{proxy.url(site.web.url)}/v1", max_retries=2)
        proxy.drop_reply_to(lambda data: b"Lost once" in data)
        key = {"Idempotency-Key": uuid4().hex}
        first = client.responses.create(model=QUICK, input="Lost once", extra_headers=key)
        assert proxy.lost_replies == 1
        assert connect(site).responses.create(model=QUICK, input="Lost once", extra_headers=key) == first


ERRORS: list[tuple[type[openai.APIStatusError], int, Callable[[OpenAI], Any]]] = [
    (openai.BadRequestError, 400, lambda c: c.responses.create(model=QUICK, input="x", temperature=9)),
    (
        openai.BadRequestError,
        400,
        lambda c: c.chat.completions.create(model=QUICK, n=2, messages=[{"role": "user", "content": "x"}]),
    ),
    (openai.BadRequestError, 400, lambda c: c.responses.create(model=QUICK, input=[])),
    (openai.BadRequestError, 400, lambda c: c.responses.create(input="x")),
    (openai.BadRequestError, 400, lambda c: c.responses.create(model=QUICK, input=[{"type": "computer_call"}])),  # type: ignore[list-item]
    (openai.BadRequestError, 400, lambda c: c.post("/responses", body=[1], cast_to=object)),
    (openai.NotFoundError, 404, lambda c: c.responses.retrieve("resp_nothing")),
    (
        openai.NotFoundError,
        404,
        lambda c: c.responses.create(model=QUICK, input="x", previous_response_id=f"resp_{uuid4().hex}"),
    ),
    (
        openai.NotFoundError,
        404,
        lambda c: c.responses.create(model=QUICK, input="x", conversation=f"conv_{uuid4().hex}"),
    ),
    (openai.NotFoundError, 404, lambda c: c.get("/nowhere", cast_to=object)),
    (openai.APIStatusError, 405, lambda c: c.put("/responses", cast_to=object)),
    (
        openai.InternalServerError,
        502,
        lambda c: c.chat.completions.create(model="fake?status=401", messages=[{"role": "user", "content": "x"}]),
    ),
]


@pytest.mark.parametrize(("kind", "status", "ask"), ERRORS)
def test_refusals_become_the_sdks_exceptions(client: OpenAI, kind: Any, status: int, ask: Any) -> None:
    with pytest.raises(kind) as caught:
        ask(client)
    assert caught.value.status_code == status
    assert caught.value.request_id
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["message"]
    assert caught.value.type


def test_a_value_that_is_not_offered_is_named_in_the_refusal(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=QUICK, n=2, messages=[{"role": "user", "content": "x"}])
    assert caught.value.param == "n"


def test_a_field_that_openai_lacks_reaches_the_upstream(site: Site, client: OpenAI) -> None:
    said = [{"role": "user", "content": "x"}]
    client.chat.completions.create(model="fake?tokens=2&rate=0", messages=said, extra_body={"top_k": 7, "min_p": 0.1})  # type: ignore[arg-type]
    body = site.upstream.calls[-1].body
    assert (body["top_k"], body["min_p"]) == (7, 0.1)


def test_a_wrong_key_is_an_authentication_error_before_anything_else(site: Site) -> None:
    stranger = OpenAI(base_url=site.base_url, api_key="sk-nothing", max_retries=0)
    for ask in (lambda: stranger.responses.retrieve("resp_x"), lambda: stranger.models.list()):
        with pytest.raises(openai.AuthenticationError):
            ask()


def test_too_many_requests_are_a_rate_limit_error_with_a_time_to_wait(site: Site) -> None:
    narrow = site.stack.web(RATELIMIT_READS="2/minute")
    try:
        client = connect(site, f"busy-{uuid4().hex}", base_url=f"{narrow.url}/v1", max_retries=0)
        with pytest.raises(openai.RateLimitError) as caught:
            # More than twice as many as are allowed: a new minute may begin in between.
            [client.models.list() for _ in range(12)]
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    finally:
        narrow.kill()


def test_a_busy_conversation_is_a_conflict_that_is_not_retried(client: OpenAI) -> None:
    conversation = client.conversations.create()
    first = client.responses.create(model=ENDLESS, input="One", conversation=conversation.id, background=True)
    with pytest.raises(openai.ConflictError) as caught:
        client.responses.create(model=QUICK, input="Two", conversation=conversation.id)
    assert caught.value.response.headers["x-should-retry"] == "false"
    client.responses.cancel(first.id)


def test_what_belongs_to_another_user_does_not_exist(site: Site, client: OpenAI) -> None:
    response = client.responses.create(model=QUICK, input="Mine", conversation=client.conversations.create().id)
    assert response.conversation is not None
    item = client.conversations.items.list(response.conversation.id).data[0]
    bob = connect(site, "bob")
    conversation_id = response.conversation.id
    for ask in (
        lambda: bob.responses.retrieve(response.id),
        lambda: list(bob.responses.retrieve(response.id, stream=True)),
        lambda: bob.responses.cancel(response.id),
        lambda: bob.responses.delete(response.id),
        lambda: bob.responses.input_items.list(response.id),
        lambda: bob.responses.create(model=QUICK, input="x", previous_response_id=response.id),
        lambda: bob.responses.create(model=QUICK, input="x", conversation=conversation_id),
        lambda: bob.responses.create(model=QUICK, input=[{"type": "item_reference", "id": str(item.id)}]),
        lambda: bob.conversations.retrieve(conversation_id),
        lambda: bob.conversations.items.list(conversation_id),
        lambda: bob.conversations.items.retrieve(str(item.id), conversation_id=conversation_id),
        lambda: bob.conversations.update(conversation_id, metadata={}),
        lambda: bob.conversations.delete(conversation_id),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()
    assert client.responses.retrieve(response.id) == response


def test_two_readers_of_one_response_see_the_same(client: OpenAI) -> None:
    response = client.responses.create(model=SLOW, input="For two", background=True)
    seen: list[list[Any]] = [[], []]

    def read(into: list[Any]) -> None:
        into.extend(client.responses.retrieve(response.id, stream=True))

    threads = [threading.Thread(target=read, args=(into,)) for into in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert seen[0] == seen[1]
    assert text_of(seen[0]) == client.responses.retrieve(response.id).output_text


def test_the_stream_helper_ends_with_the_whole_response(client: OpenAI) -> None:
    with client.responses.stream(model=QUICK, input="Please think about it", background=True) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert {"response.reasoning_text.delta", "response.output_text.delta", "response.completed"} <= kinds
    assert final.output_text == client.responses.retrieve(final.id).output_text
    assert [item.type for item in final.output] == ["reasoning", "message"]
    with client.responses.stream(response_id=final.id, starting_after=10) as stream:
        numbers = [event.sequence_number for event in stream]
    assert numbers[0] == 11


def test_functions_are_the_clients_own(site: Site, client: OpenAI) -> None:
    call_id = f"call_{uuid4().hex[:8]}"
    model = "fake"
    ask = {
        "fake": {
            "tokens": 3,
            "rate": 0,
            "finish": "tool_calls",
            "tool_call": {"name": "add", "arguments": {"a": 1}, "id": call_id},
        }
    }
    with client.responses.stream(
        model=model, input=json.dumps(ask), tools=[TOOL], tool_choice="auto", parallel_tool_calls=False
    ) as stream:  # type: ignore[list-item]
        for _ in stream:
            pass
        first = stream.get_final_response()
    assert first.status == "completed"
    call = first.output[-1]
    assert call.type == "function_call"
    assert (call.call_id, call.name, json.loads(call.arguments), call.status) == (call_id, "add", {"a": 1}, "completed")
    sent = site.upstream.calls[-1].body
    assert sent["tools"][0]["function"]["name"] == "add"
    assert (sent["tool_choice"], sent["parallel_tool_calls"]) == ("auto", False)
    second = client.responses.create(
        model=f"{model}?tokens=4&rate=0",
        previous_response_id=first.id,
        tools=[TOOL],  # type: ignore[list-item]
        input=[
            {"type": "function_call_output", "call_id": call_id, "output": "2"},
            {"role": "user", "content": json.dumps({"fake": {"tokens": 4, "rate": 0}})},
        ],
    )
    assert second.status == "completed"
    messages = site.upstream.calls[-1].body["messages"]
    # The strictest templates want an assistant's message between a tool's and a user's.
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant", "user"]
    assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"] == call_id
    assert messages[2]["content"] == "2"
    # The whole output may also be sent back by a client that keeps no state here.
    history: Any = [
        {"role": "user", "content": "1 + 1?"},
        *first.output,
        {"type": "function_call_output", "call_id": call_id, "output": "2"},
    ]
    third = client.responses.create(model=f"{model}?tokens=4&rate=0", input=history)
    assert third.status == "completed"
    assert [message["role"] for message in site.upstream.calls[-1].body["messages"]] == ["user", "assistant", "tool"]
    listed = client.responses.input_items.list(third.id, order="asc").data
    assert [item.type for item in listed] == ["message", "message", "function_call", "function_call_output"]


def test_previous_response_id_branches_from_any_answer(site: Site, client: OpenAI) -> None:
    def ask(text: str, behind: str | None = None) -> Any:
        more = {} if behind is None else {"previous_response_id": behind}
        return client.responses.create(model="fake?tokens=2&rate=0", input=text, instructions="Be kind.", **more)

    first = ask("first")
    second = ask("second", first.id)
    third = ask("third", first.id)
    contents = [message["content"] for message in site.upstream.calls[-1].body["messages"]]
    assert contents == ["Be kind.", "first", first.output_text, "third"]
    assert (third.previous_response_id, second.previous_response_id) == (first.id, first.id)


def test_upstream_gets_what_was_asked_for_in_its_own_names(site: Site, client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"type": "string"}},
        "required": ["x"],
        "additionalProperties": False,
    }
    client.responses.create(
        model="fake?tokens=2&rate=0",
        input="x",
        temperature=0.5,
        top_p=0.25,
        max_output_tokens=77,
        reasoning={"effort": "high"},
        text={
            "format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": True},
            "verbosity": "low",
        },
    )
    sent = site.upstream.calls[-1].body
    assert {name: sent[name] for name in ("temperature", "top_p", "max_tokens", "reasoning_effort", "verbosity")} == {
        "temperature": 0.5, "top_p": 0.25, "max_tokens": 77, "reasoning_effort": "high", "verbosity": "low"
    }  # fmt: skip
    assert sent["response_format"]["json_schema"] == {"name": "answer", "schema": schema, "strict": True}
    assert "instructions" not in sent


def test_an_answer_cut_by_its_limit_is_incomplete(client: OpenAI) -> None:
    response = client.responses.create(model=QUICK, input="Hello", max_output_tokens=10)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output_text


def test_a_refusal_upstream_before_the_first_token_is_the_sdks_exception(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.responses.create(model="fake?status=401", input="x", stream=True)
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_unauthorized")


def test_a_background_response_that_fails_upstream_is_a_failed_response(client: OpenAI) -> None:
    events = list(client.responses.create(model="fake?status=401", input="x", stream=True, background=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.message


def test_conversations_collect_items_that_can_be_paged_and_deleted(client: OpenAI) -> None:
    conversation = client.conversations.create(metadata={"topic": "demo"})
    assert client.conversations.retrieve(conversation.id) == conversation
    added = client.conversations.items.create(
        conversation.id,
        items=[{"role": "user", "content": f"Number {n}", "type": "message"} for n in range(5)],
    )
    assert len(added.data) == 5
    response = client.responses.create(model=QUICK, input="And now?", conversation={"id": conversation.id})
    assert response.conversation is not None
    assert response.conversation.id == conversation.id
    listed = list(client.conversations.items.list(conversation.id, limit=2, order="asc"))
    assert [item.id for item in listed][:5] == [item.id for item in added.data]
    assert len(listed) == 7
    assert listed[-1].id == response.output[0].id
    assert [item.id for item in client.conversations.items.list(conversation.id)] == [
        item.id for item in reversed(listed)
    ]
    item = client.conversations.items.retrieve(str(added.data[0].id), conversation_id=conversation.id)
    assert item == added.data[0]
    after = client.conversations.items.delete(str(item.id), conversation_id=conversation.id)
    assert after.id == conversation.id
    assert len(list(client.conversations.items.list(conversation.id))) == 6
    assert client.conversations.update(conversation.id, metadata={"topic": "other"}).metadata == {"topic": "other"}
    assert client.conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(conversation.id)


def test_input_items_can_be_paged(client: OpenAI) -> None:
    said: Any = [{"role": "user", "content": f"Number {n}"} for n in range(5)]
    response = client.responses.create(model=QUICK, input=said)
    listed = list(
        client.responses.input_items.list(response.id, limit=2, order="asc", include=["message.output_text.logprobs"])
    )
    assert [item.content[0].text for item in listed] == [f"Number {n}" for n in range(5)]  # type: ignore[union-attr]


def test_deleted_means_gone(client: OpenAI) -> None:
    response = client.responses.create(model=QUICK, input="Forget me")
    client.responses.delete(response.id)
    for ask in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            ask(response.id)


def test_deleting_a_response_others_build_on_leaves_them_their_context(site: Site, client: OpenAI) -> None:
    first = client.responses.create(model="fake?tokens=2&rate=0", input="first")
    second = client.responses.create(model="fake?tokens=2&rate=0", input="second", previous_response_id=first.id)
    client.responses.delete(first.id)
    client.responses.create(model="fake?tokens=2&rate=0", input="third", previous_response_id=second.id)
    contents = [message["content"] for message in site.upstream.calls[-1].body["messages"]]
    assert contents == ["first", first.output_text, "second", second.output_text, "third"]


def test_models_can_be_listed_and_retrieved_also_with_a_slash(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert {"offline", "offline-fast", "fake/with-slash"} <= set(names)
    assert client.models.retrieve("fake/with-slash").owned_by == "openai"


def test_chat_completions_whole_and_in_chunks(client: OpenAI) -> None:
    said: Any = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    whole = client.chat.completions.create(model=QUICK, messages=said)
    assert whole.choices[0].finish_reason == "stop"
    chunks = list(
        client.chat.completions.create(model=QUICK, messages=said, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    with client.chat.completions.stream(model=QUICK, messages=said) as stream:
        assert stream.get_final_completion().choices[0].message.content == text


def test_chat_tools_go_round(site: Site, client: OpenAI) -> None:
    ask = json.dumps(
        {"fake": {"tokens": 2, "rate": 0, "finish": "tool_calls", "tool_call": {"name": "add", "arguments": {"a": 1}}}}
    )
    tools: Any = [{"type": "function", "function": {"name": "add", "parameters": TOOL["parameters"]}}]
    first = client.chat.completions.create(model="fake", messages=[{"role": "user", "content": ask}], tools=tools)
    assert first.choices[0].finish_reason == "tool_calls"
    message = first.choices[0].message
    assert message.tool_calls
    history: Any = [
        {"role": "user", "content": "1 + 1?"},
        message,
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "2"},
    ]
    client.chat.completions.create(model="fake?tokens=2&rate=0", messages=history, tools=tools)
    sent = site.upstream.calls[-1].body["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool"]


def test_a_chat_that_fails_midway_raises(client: OpenAI) -> None:
    with pytest.raises(openai.APIError):
        list(
            client.chat.completions.create(
                model="fake?status=401", messages=[{"role": "user", "content": "x"}], stream=True
            )
        )


def test_native_and_openai_are_one(site: Site, client: OpenAI) -> None:
    response = client.responses.create(model=SLOW, input="Both ways", background=True)
    generation_id = _uuid(response.id)
    native = site.stack.resources.generations
    assert native.get(site.stack.user, generation_id).row.status in ("queued", "running")
    text = text_of(list(client.responses.retrieve(response.id, stream=True)))
    assert site.stack.transcript(generation_id).text == text
    started = site.stack.start("Natively", model=QUICK)
    events = list(client.responses.retrieve(f"resp_{started.generation.id.replace('-', '')}", stream=True))
    assert site.stack.transcript(started.generation.id).text == text_of(events)
    assert events[-1].response.conversation.id == f"conv_{started.conversation.id.replace('-', '')}"


def test_an_answer_begun_anew_goes_on_in_a_new_item(site: Site, client: OpenAI) -> None:
    """The upstream loses its connection, and the policy of this model is a restart: each token differs."""
    site.add_model("anew", "fake?tokens=30&rate=20&cut_after=15&once=true", "restart")
    with client.responses.stream(model="anew", input=f"Begin {uuid4().hex}", background=True) as stream:
        seen = list(stream)
        final = stream.get_final_response()
    assert [(item.type, item.status) for item in final.output] == [("message", "incomplete"), ("message", "completed")]  # type: ignore[union-attr]
    assert text_of(seen) == final.output_text
    assert final.output[-1].content[0].text == site.stack.transcript(_uuid(final.id)).text  # type: ignore[union-attr]
    with pytest.raises(openai.APIError, match="begun anew"):
        list(
            client.chat.completions.create(
                model="anew", messages=[{"role": "user", "content": f"Begin {uuid4().hex}"}], stream=True
            )
        )


def test_a_worker_killed_in_the_middle_is_not_noticed(site: Site) -> None:
    """The loop of the SDK goes on: another worker continues, the text is complete, and no number is missing."""
    client = connect(site)
    seen: list[Any] = []
    with client.responses.create(model=SLOW, input=f"Survive {uuid4().hex}", background=True, stream=True) as stream:
        for event in stream:
            seen.append(event)
            if len(seen) == 30:
                site.kill_worker()
    assert seen[-1].type == "response.completed"
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    response = client.responses.retrieve(seen[0].response.id)
    assert (response, text_of(seen)) == (seen[-1].response, response.output_text)
    assert list(client.responses.retrieve(response.id, stream=True)) == seen
    assert site.stack.transcript(_uuid(response.id)).text == response.output_text
    assert site.stack.generation(_uuid(response.id)).epoch >= 2, "nobody took over"


def _uuid(response_id: str) -> str:
    digits = response_id.partition("_")[2]
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
