"""Real web and worker processes before an upstream that refuses each prompt that the strictest templates refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import requests

from dev.valkey import Valkey
from tests.factories import insert, owner
from tests.fakes.upstream import Call, FakeUpstream
from tests.stack import Stack, Web, Worker

NUMBERS = count()
SIGNATURE = {"google": {"thought_signature": "c2lnbmF0dXJl"}}
CALCULATE = {"name": "calculator", "arguments": {"expression": "6*7"}}
TOOL = {"type": "function", "name": "lookup", "parameters": {"type": "object", "properties": {}}}
CALL = {"id": "c", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
FUNCTION = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(defaults={"strict": True, "tokens": 3, "rate": 0}) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey, upstream: FakeUpstream
) -> Iterator[Stack]:
    with owner(module_database_url) as cursor:
        given = {"provider": "openai", "upstream_name": "fake", "system_prompt": "Be kind."}
        insert(cursor, "models", {"name": "able", "tools": ["calculator"], **given})
        insert(cursor, "models", {"name": "other", **given, "upstream_name": "fake-large"})
    directory = tmp_path_factory.mktemp("strict")
    stack = Stack(directory, module_database_url, valkey.url(), OPENAI_BASE_URL=upstream.base_url)
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def web(stack: Stack) -> Web:
    return stack.web()


@pytest.fixture(scope="module")
def worker(stack: Stack) -> Worker:
    return stack.worker(5)


@pytest.fixture
def client(stack: Stack, web: Web, worker: Worker) -> Client:
    return Client(stack, web)


class Client:
    """A program that sends requests to the service."""

    def __init__(self, stack: Stack, web: Web) -> None:
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {stack.token()}"
        self._url = web.url

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of the reply to a request. Fails unless the request succeeds."""
        reply = self._session.request(method, self._url + path, json=body, timeout=60)
        assert reply.ok, reply.text
        return reply.json() if reply.content else None

    def complete(self, messages: list[Any], **fields: Any) -> dict[str, Any]:
        """The message of a chat completion."""
        body = {"model": "able", "messages": messages, **fields}
        choice: dict[str, Any] = self.send("POST", "/v1/chat/completions", body)["choices"][0]["message"]
        return choice

    def complete_streaming(self, messages: list[Any], **fields: Any) -> list[dict[str, Any]]:
        """The deltas of a streamed chat completion."""
        body = {"model": "able", "messages": messages, "stream": True, **fields}
        reply = self._session.post(f"{self._url}/v1/chat/completions", json=body, timeout=60)
        assert reply.ok, reply.text
        data = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: {")]
        chunks = [json.loads(line) for line in data]
        assert not [chunk for chunk in chunks if "error" in chunk], chunks[-1]
        return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def wish(**behaviour: Any) -> str:
    """A message that makes the upstream behave so."""
    return json.dumps({"fake": {"key": next(NUMBERS), **behaviour}})


def calls_with(upstream: FakeUpstream, text: str) -> list[Call]:
    """The calls of the upstream whose prompt has this message."""
    return [call for call in upstream.calls if text in json.dumps(call.body["messages"]).replace('\\"', '"')]


# --- what an upstream gives with calls and wants back -----------------------------------------------------------------


def test_the_reasoning_before_a_call_goes_back_with_the_call(stack: Stack, client: Client, upstream: FakeUpstream):
    text = wish(reasoning=2, tool_call=CALCULATE, tool_rounds=2, wants_back="reasoning_content")
    started = stack.start(text, model="able")
    row = stack.finished(started.generation.id)
    assert (row.status, row.error) == ("completed", None)
    _, second, third = calls_with(upstream, text)
    shown = [m.get("reasoning_content") for m in third.body["messages"] if m["role"] == "assistant"]
    assert shown == ["r0.0 r0.1 ".replace("0.", f"{n}.") for n in (second.number - 1, second.number)]
    assert second.body["messages"] == third.body["messages"][: len(second.body["messages"])]
    # A later turn repeats the bytes of the earlier prompt, and the upstream still has what it wants.
    more = stack.start(wish(wants_back="reasoning_content"), model="able", conversation_id=row.conversation_id)
    assert stack.finished(more.generation.id).status == "completed"
    assert upstream.calls[-1].body["messages"][: len(third.body["messages"])] == third.body["messages"]


def test_a_signature_of_a_call_goes_back_with_the_call(stack: Stack, client: Client, upstream: FakeUpstream):
    text = wish(tool_call={**CALCULATE, "extra_content": SIGNATURE}, tool_rounds=2, wants_back="extra_content")
    row = stack.finished(stack.start(text, model="able").generation.id)
    assert (row.status, row.error) == ("completed", None)
    first = calls_with(upstream, text)[1].body["messages"][-2]["tool_calls"][0]
    assert first["extra_content"] == SIGNATURE
    more = stack.start(wish(wants_back="extra_content"), model="able", conversation_id=row.conversation_id)
    assert stack.finished(more.generation.id).status == "completed"


@pytest.mark.parametrize("streamed", [False, True])
def test_programs_are_given_signatures_and_reasoning_and_send_them_back(
    client: Client, upstream: FakeUpstream, streamed: bool
):
    call = {"name": "lookup", "arguments": "", "extra_content": SIGNATURE}
    question = {"role": "user", "content": wish(reasoning=1, tool_call=call, tool_rounds=1, tokens=0)}
    if streamed:
        deltas = client.complete_streaming([question], tools=[FUNCTION])
        [given] = [delta["tool_calls"][0] for delta in deltas if delta.get("tool_calls")]
        given.pop("index")
        thought = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    else:
        message = client.complete([question], tools=[FUNCTION])
        [given], thought = message["tool_calls"], message["reasoning_content"]
    assert given["extra_content"] == SIGNATURE
    assert given["function"] == {"name": "lookup", "arguments": "{}"}
    assert thought.startswith("r")
    said = {"role": "assistant", "content": None, "reasoning_content": thought, "tool_calls": [given]}
    output = {"role": "tool", "tool_call_id": given["id"], "content": "found"}
    client.complete([question, said, output], tools=[FUNCTION])
    sent = upstream.calls[-1].body["messages"][-2]
    assert sent == {**said, "content": ""}


@pytest.mark.parametrize("field", ["reasoning_content", "extra_content"])
def test_an_upstream_that_wants_none_of_it_is_spared(stack: Stack, client: Client, upstream: FakeUpstream, field: str):
    call = {**CALCULATE, "extra_content": SIGNATURE}
    row = stack.finished(stack.start(wish(reasoning=1, tool_call=call, tool_rounds=1), model="able").generation.id)
    more = stack.start(wish(knows_not=field), model="other", conversation_id=row.conversation_id)
    answered = stack.finished(more.generation.id)
    assert (answered.status, answered.error) == ("completed", None)
    sent = [message for message in upstream.calls[-1].body["messages"] if message["role"] == "assistant"]
    assert sent
    assert field not in json.dumps(sent)


def test_messages_of_programs_are_sent_on_as_far_as_there_is_something(client: Client, upstream: FakeUpstream):
    client.complete(
        [
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "name": "ann", "content": "One"},
            {"role": "user", "name": "bob", "content": "Two"},
            {"role": "assistant", "content": None},
            {"role": "assistant", "content": None, "refusal": "No."},
            {"role": "user", "content": "Three"},
            {"role": "assistant"},
            {"role": "system", "content": "Be exact."},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": None},
        ]
    )
    assert upstream.calls[-1].body["messages"] == [
        {"role": "system", "content": "Be kind.\n\nBe brief.\n\nBe exact."},
        {"role": "user", "content": "One", "name": "ann"},
        {"role": "user", "content": "Two", "name": "bob"},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": "Three"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "", "tool_call_id": "c"},
    ]


# --- histories that went through something ----------------------------------------------------------------------------


def respond(client: Client, given: Any, **fields: Any) -> dict[str, Any]:
    """A response that has ended."""
    response: dict[str, Any] = client.send("POST", "/v1/responses", {"model": "able", "input": given, **fields})
    assert response["status"] == "completed", response["error"]
    return response


def roles(upstream: FakeUpstream) -> list[str]:
    """The roles of the newest prompt."""
    return [message["role"] for message in upstream.calls[-1].body["messages"]]


def test_all_instructions_are_one_message_at_the_front(client: Client, upstream: FakeUpstream):
    developer = {"role": "developer", "content": "Be brief."}
    first = respond(client, [{"role": "user", "content": "Hi"}, developer], instructions="Be exact.")
    assert upstream.calls[-1].body["messages"] == [
        {"role": "system", "content": "Be kind.\n\nBe exact.\n\nBe brief."},
        {"role": "user", "content": "Hi"},
    ]
    respond(client, [{"role": "system", "content": "In French."}], previous_response_id=first["id"])
    assert roles(upstream) == ["system", "user", "assistant", "user"]
    client.complete([{"role": "system", "content": "Say something."}])
    assert roles(upstream) == ["system", "user"]


def test_an_output_whose_call_was_deleted_does_not_stop_the_conversation(client: Client, upstream: FakeUpstream):
    conversation = client.send("POST", "/v1/conversations", {})["id"]
    call = {"name": "lookup", "arguments": {}}
    asked = wish(tool_call=call, tool_rounds=1, reasoning=1)
    response = respond(client, asked, conversation=conversation, tools=[TOOL])
    [made] = [item for item in response["output"] if item["type"] == "function_call"]
    output = {"type": "function_call_output", "call_id": made["call_id"], "output": "found"}
    respond(client, [output], conversation=conversation, tools=[TOOL])
    assert roles(upstream) == ["system", "user", "assistant", "tool"]
    client.send("DELETE", f"/v1/conversations/{conversation}/items/{made['id']}")
    respond(client, wish(), conversation=conversation, tools=[TOOL])
    assert roles(upstream) == ["system", "user", "assistant", "user"]
    items = client.send("GET", f"/v1/conversations/{conversation}/items?order=asc")["data"]
    client.send("DELETE", f"/v1/conversations/{conversation}/items/{items[0]['id']}")
    respond(client, wish(), conversation=conversation)
    assert roles(upstream) == ["system", "user", "assistant", "user", "assistant", "user"]


def test_a_call_that_was_cut_off_goes_back_as_an_object(client: Client, upstream: FakeUpstream):
    cut = {"name": "lookup", "arguments": '{"city": "Os', "extra_content": SIGNATURE}
    asked = wish(tool_call=cut, tool_rounds=1, tokens=0, finish="length")
    response = client.send("POST", "/v1/responses", {"model": "able", "input": asked, "tools": [TOOL]})
    [made] = [item for item in response["output"] if item["type"] == "function_call"]
    assert (made["arguments"], made["extra_content"]) == ('{"city": "Os', SIGNATURE)
    output = {"type": "function_call_output", "call_id": made["call_id"], "output": "?"}
    respond(client, [output, {"role": "user", "content": wish()}], previous_response_id=response["id"], tools=[TOOL])
    [sent] = upstream.calls[-1].body["messages"][2]["tool_calls"]
    assert json.loads(sent["function"]["arguments"]) == {"invalid_arguments": '{"city": "Os'}
    assert sent["extra_content"] == SIGNATURE
    assert roles(upstream) == ["system", "user", "assistant", "tool", "assistant", "user"]


def test_edits_repeats_cancels_failures_and_imports_lead_to_prompts_that_are_taken(
    stack: Stack, client: Client, upstream: FakeUpstream
):
    call = {**CALCULATE, "extra_content": SIGNATURE}
    began = stack.start(wish(tool_call=call, tool_rounds=1, reasoning=1), model="able")
    first = stack.finished(began.generation.id)
    conversation = first.conversation_id
    # A failure, a cancel before the first token, and one in the middle of a round.
    failed = stack.start(wish(status=400), model="able", conversation_id=conversation)
    assert stack.finished(failed.generation.id).status == "error"
    for behaviour in ({"first_delay": 60}, {"tool_call": call, "tokens": 5, "rate": 5}):
        waiting = stack.start(wish(**behaviour), model="able", conversation_id=conversation)
        asked = waiting.message.content
        upstream.wait_until(lambda asked=asked: calls_with(upstream, asked))
        client.send("POST", f"/api/v1/generations/{waiting.generation.id}/cancel")
        assert stack.finished(waiting.generation.id).status == "cancelled"
    repeated = client.send("POST", f"/api/v1/messages/{first.message_id}/regenerate", {})["generation"]
    assert stack.finished(repeated["id"]).status == "completed"
    body = {"message": wish()}
    edited = client.send("POST", f"/api/v1/messages/{waiting.message.id}/edit", body)["generation"]
    assert stack.finished(edited["id"]).status == "completed"
    assert roles(upstream)[:4] == ["system", "user", "assistant", "tool"]
    exported = client.send("GET", f"/api/v1/conversations/{conversation}/export")
    imported = client.send("POST", "/api/v1/conversations/import", exported)["id"]
    before = upstream.calls[-1].body["messages"]
    more = {"message": wish(wants_back="extra_content"), "conversation_id": imported, "model": "able"}
    answer = client.send("POST", "/api/v1/generations", more)["generation"]
    assert stack.finished(answer["id"]).status == "completed"
    assert upstream.calls[-1].body["messages"][: len(before)] == before


def test_a_takeover_in_a_round_of_calls_repeats_the_prompt_byte_by_byte(
    stack: Stack, worker: Worker, client: Client, upstream: FakeUpstream
):
    call = {**CALCULATE, "extra_content": SIGNATURE}
    text = wish(tool_call=call, tool_rounds=2, reasoning=2, tokens=0, first_delay=3, wants_back="reasoning_content")
    started = stack.start(text, model="able")
    upstream.wait_until(lambda: len(calls_with(upstream, text)) == 3, 60)
    worker.kill()
    other = stack.worker(5)
    row = stack.finished(started.generation.id, 60)
    assert (row.status, row.error) == ("completed", None)
    third, fourth = calls_with(upstream, text)[2:]
    assert third.body["messages"] == fourth.body["messages"]
    assert [m["role"] for m in fourth.body["messages"]] == ["system", "user", *["assistant", "tool"] * 2]
    views = stack.transcript(row.id).tool_views()
    assert [(view["extra"], view["place"]["round"]) for view in views] == [
        ({"extra_content": SIGNATURE}, 1),
        ({"extra_content": SIGNATURE}, 2),
    ]
    other.kill()
