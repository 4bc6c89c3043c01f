"""Anthropic's and Gemini's own APIs behind a real worker: every surface, tools, takeovers, pings, errors."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from app.domain.attempts import Attempt
from app.domain.events import Tool, decode
from app.domain.models import ModelSpec
from app.store.generations import Generation
from dev.valkey import Valkey
from tests.fakes.anthropic import FakeAnthropic
from tests.fakes.gemini import FakeGemini
from tests.fakes.native import TOKEN, Call, FakeServer
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, Web, Worker, until

KINDS = ("anthropic", "gemini")
NUMBERS = iter(range(10**6))
KEY = "key-of-the-fake-7f3a9c"
FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, FakeServer]]:
    with FakeAnthropic(api_key=KEY) as first, FakeGemini(api_key=KEY, first_number=1000) as second:
        yield {"anthropic": first, "gemini": second}


@pytest.fixture(scope="module")
def openai() -> Iterator[FakeUpstream]:
    with FakeUpstream(defaults={"tokens": 2, "rate": 0}) as server:
        yield server


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    module_database_url: str,
    valkey: Valkey,
    servers: dict[str, FakeServer],
    openai: FakeUpstream,
) -> Iterator[Stack]:
    settings: dict[str, Any] = {"UPSTREAMS": "anthropic,gemini,old", "OPENAI_BASE_URL": openai.base_url}
    for name, kind in (("anthropic", "anthropic"), ("gemini", "gemini"), ("old", "anthropic")):
        variables = {"KIND": kind, "BASE_URL": servers[kind].base_url, "API_KEY": KEY}
        settings |= {f"UPSTREAM_{name.upper()}_{field}": value for field, value in variables.items()}
    settings["UPSTREAM_OLD_CONTINUATION"] = "prefill"
    # More than a busy machine keeps a fake upstream waiting for its processor.
    settings["TOKEN_TIMEOUT"] = "4"
    stack = Stack(tmp_path_factory.mktemp("native"), module_database_url, valkey.url(), **settings)
    admin = stack.resources.model_admin
    for name, upstream, own in (
        ("a", "anthropic", "fake"),
        ("g", "gemini", "gemini-3-fake"),
        ("prefilled", "old", "old-fake"),
    ):
        able = ["calculator"] if name in "ag" else []
        thinks = {"reasoning_effort": "high"} if name in "ag" else {}
        admin.add(name, ModelSpec(provider=upstream, upstream_name=own, tools=able, parameters=thinks))
    admin.add("o", ModelSpec(provider="openai", upstream_name="fake"))
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def worker(stack: Stack) -> Iterator[Worker]:
    worker = stack.worker(10)
    yield worker
    worker.kill()


@pytest.fixture(scope="module")
def web(stack: Stack) -> Web:
    return stack.web()


def wish(**behaviour: Any) -> str:
    """A message that scripts the fake."""
    return "Count. " + json.dumps({"fake": {"key": next(NUMBERS), "tokens": 3, **behaviour}})


def calls_of(server: FakeServer, message: str) -> list[Call]:
    """The requests that have this message of the user."""
    inside = json.dumps(message)[1:-1]
    return [call for call in server.calls if inside in json.dumps(call.body)]


def post(stack: Stack, web: Web, path: str, body: dict[str, Any]) -> bytes:
    headers = {"Authorization": f"Bearer {stack.token()}", "Content-Type": "application/json"}
    request = urllib.request.Request(web.url + path, json.dumps(body).encode(), headers)
    with _NO_PROXY.open(request, timeout=60) as response:
        found: bytes = response.read()
        return found


def data_of(stream: bytes) -> list[dict[str, Any]]:
    lines = (line[6:] for line in stream.splitlines() if line.startswith(b"data: {"))
    return [json.loads(line) for line in lines]


def model_of(kind: str) -> str:
    return kind[0]


def visible(attempts: list[Attempt]) -> list[str]:
    return [attempt["outcome"] for attempt in attempts]


@pytest.mark.parametrize("kind", KINDS)
def test_text_thoughts_and_usage_on_every_surface(
    stack: Stack, worker: Worker, web: Web, servers: dict[str, FakeServer], kind: str
) -> None:
    model, server = model_of(kind), servers[kind]
    asked = wish(thought="Let me count.", cached=4, pings=True, unknown=True)

    row = stack.finished(stack.start(asked, model=model).generation.id)
    [call] = calls_of(server, asked)
    assert (row.status, row.finish_reason, row.error) == ("completed", "stop", None)
    transcript = stack.transcript(row.id)
    assert (transcript.text, transcript.reasoning) == (call.text, "Let me count.")
    assert row.usage is not None
    assert (row.usage["output_tokens"], row.usage["reasoning_tokens"], row.usage["cached_tokens"]) == (4, 1, 4)
    assert row.usage["input_tokens"] > 4

    response = json.loads(post(stack, web, "/v1/responses", {"model": model, "input": wish(thought="Hm")}))
    texts = {item["type"]: item for item in response["output"]}
    assert response["status"] == "completed"
    assert texts["message"]["content"][0]["text"] == server.calls[-1].text

    chat = {"model": model, "messages": [{"role": "user", "content": wish()}], "max_tokens": 77}
    completion = json.loads(post(stack, web, "/v1/chat/completions", chat))
    assert completion["choices"][0]["message"]["content"] == server.calls[-1].text
    assert completion["choices"][0]["finish_reason"] == "stop"
    sent = server.calls[-1].body
    assert sent.get("max_tokens") == 77 or sent["generationConfig"]["maxOutputTokens"] == 77

    message = {"id": f"m{next(NUMBERS)}", "role": "user", "parts": [{"type": "text", "text": wish(thought="Hm")}]}
    body = {"id": f"chat{next(NUMBERS)}", "messages": [message], "trigger": "submit-message", "model": model}
    chunks = data_of(post(stack, web, "/api/chat", body))
    assert "".join(c["delta"] for c in chunks if c["type"] == "text-delta") == server.calls[-1].text
    assert "".join(c["delta"] for c in chunks if c["type"] == "reasoning-delta") == "Hm"


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_tool_leads_to_the_rest_of_the_answer_and_its_thought_goes_back(
    stack: Stack, worker: Worker, servers: dict[str, FakeServer], kind: str
) -> None:
    tool = {"name": "calculator", "arguments": {"expression": "6*7"}}
    asked = wish(thought="I compute.", tool_calls=[tool, {**tool, "arguments": {"expression": "6*8"}}], tool_rounds=2)
    started = stack.start(asked, model=model_of(kind))
    row = stack.finished(started.generation.id)
    first, second = calls_of(servers[kind], asked)
    assert (row.status, row.error, second.refusal) == ("completed", None, "")
    events = [decode(entry.payload) for entry in stack.read(row.id)]
    assert [e.result for e in events if isinstance(e, Tool) and e.state == "finished"] == ["42", "48"]
    assert stack.transcript(row.id).text == first.text + second.text
    # The next turns have the calls in their history: with what an upstream wants back, without it for another kind.
    for model in (*"agag", "o"):
        more = stack.start(wish(tokens=1), model=model, conversation_id=row.conversation_id)
        assert stack.finished(more.generation.id).error is None, model


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_runs_tools_over_chat_completions(
    stack: Stack, worker: Worker, web: Web, servers: dict[str, FakeServer], kind: str
) -> None:
    tool = {"name": "weather", "arguments": {"city": "Oslo"}}
    asked = {"role": "user", "content": wish(thought="Hm", tool_calls=[tool, {"name": "weather"}], tool_rounds=1)}
    body = {"model": model_of(kind), "messages": [asked], "tools": [{"type": "function", "function": FUNCTION}]}
    first = json.loads(post(stack, web, "/v1/chat/completions", body))["choices"][0]
    calls = first["message"]["tool_calls"]
    assert first["finish_reason"] == "tool_calls"
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"city": "Oslo"}, {}]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "rain"} for call in calls]
    again = {**body, "messages": [asked, first["message"], *results]}
    second = json.loads(post(stack, web, "/v1/chat/completions", again))["choices"][0]
    assert (second["finish_reason"], servers[kind].calls[-1].refusal) == ("stop", "")
    assert second["message"]["content"] == servers[kind].calls[-1].text


def test_a_lost_worker_is_replaced_in_the_middle(stack: Stack, servers: dict[str, FakeServer], worker: Worker) -> None:
    """The text goes on behind its last token: by instruction, and by a model that takes the text as its own."""
    asked = {model: wish(tokens=60, rate=15) for model in ("a", "g", "prefilled")}

    def calls(model: str) -> list[Call]:
        return calls_of(servers["gemini" if model == "g" else "anthropic"], asked[model])

    worker.signal(signal.SIGSTOP)
    doomed = stack.worker(10)
    try:
        rows = {model: stack.start(message, model=model).generation for model, message in asked.items()}
        until(lambda: all(any(c.tokens_sent > 8 for c in calls(model)) for model in asked), 30, "tokens")
        doomed.kill()
    finally:
        worker.signal(signal.SIGCONT)
    for model, row in rows.items():
        done = stack.finished(row.id)
        assert (done.status, done.error) == ("completed", None)
        said = stack.transcript(row.id)
        assert [int(index) for _, index in TOKEN.findall(said.text)] == list(range(60))
        first, second = calls(model)
        assert second.first_index > 0
        assert said.text == _joined(first, second)
        assert (second.body.get("messages") or second.body["contents"])[-1]["role"] == (
            "assistant" if model == "prefilled" else "user"
        )


def _joined(first: Call, second: Call) -> str:
    """The text of a first call up to where a second one goes on."""
    text = first.text
    while TOKEN.findall(text) and int(TOKEN.findall(text)[-1][1]) >= second.first_index:
        text = text[: text.rindex(f"k{first.number}.{TOKEN.findall(text)[-1][1]}")]
    return text + second.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_answer_goes_on_and_every_call_is_counted(
    stack: Stack, worker: Worker, servers: dict[str, FakeServer], kind: str
) -> None:
    asked = wish(tokens=12, cut_after=6, once=True)
    row = stack.finished(stack.start(asked, model=model_of(kind)).generation.id)
    assert (row.status, row.error) == ("completed", None)
    assert visible(row.attempts) == ["upstream_connection", "finished"]
    assert all(attempt["usage"] and attempt["usage"]["input_tokens"] > 0 for attempt in row.attempts)
    assert [int(i) for _, i in TOKEN.findall(stack.transcript(row.id).text)] == list(range(12))


def test_pings_are_no_tokens_but_keep_a_silent_model_alive(
    stack: Stack, worker: Worker, servers: dict[str, FakeServer]
) -> None:
    behaviours: list[dict[str, Any]] = [
        {"stall_after": 2, "pings": True},
        {"stall_after": 0, "pings": True},
        {"stall_after": 2, "once": True},
    ]
    ids = [stack.start(wish(tokens=4, stall_for=6.0, **b), model="a").generation.id for b in behaviours]
    outcomes = [visible(stack.finished(generation_id).attempts) for generation_id in ids]
    assert outcomes == [["finished"], ["finished"], ["token_timeout", "finished"]]


@pytest.mark.parametrize(
    ("kind", "behaviour", "ending"),
    [
        ("anthropic", {"finish": "refusal"}, ("completed", "content_filter", None)),
        ("gemini", {"finish": "SAFETY"}, ("completed", "content_filter", None)),
        ("gemini", {"finish": "blocked", "tokens": 0}, ("completed", "content_filter", None)),
        ("anthropic", {"finish": "model_context_window_exceeded"}, ("completed", "length", None)),
        ("gemini", {"finish": "MAX_TOKENS"}, ("completed", "length", None)),
        ("anthropic", {"status": 400, "error_message": "prompt is too long"}, ("error", "error", "context_length")),
        ("anthropic", {"status": 401}, ("error", "error", "upstream_unauthorized")),
        ("gemini", {"status": 404}, ("error", "error", "upstream_rejected")),
        ("gemini", {"finish": "MISSING_THOUGHT_SIGNATURE"}, ("error", "error", "upstream_error")),
    ],
)
def test_how_an_answer_ends(
    stack: Stack, worker: Worker, servers: dict[str, FakeServer], kind: str, behaviour: Any, ending: Any
) -> None:
    asked = wish(**behaviour)
    row = stack.finished(stack.start(asked, model=model_of(kind)).generation.id)
    assert (row.status, row.finish_reason, row.error and row.error["code"]) == ending
    assert len(calls_of(servers[kind], asked)) == 1
    assert KEY not in json.dumps(row.error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("behaviour", [{"status": 429, "retry_after": 0.2}, {"status": 503}, {"error_after": 2}])
def test_what_passes_is_tried_again(
    stack: Stack, worker: Worker, servers: dict[str, FakeServer], kind: str, behaviour: Any
) -> None:
    asked = wish(once=True, **behaviour)
    row = stack.finished(stack.start(asked, model=model_of(kind)).generation.id)
    assert (row.status, row.error) == ("completed", None)
    assert len(calls_of(servers[kind], asked)) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_pause_is_no_end(stack: Stack, worker: Worker, servers: dict[str, FakeServer], kind: str) -> None:
    asked = wish(tokens=9, pause_after=4)
    row: Generation = stack.finished(stack.start(asked, model=model_of(kind)).generation.id)
    first, second = calls_of(servers[kind], asked)
    assert (row.status, visible(row.attempts)) == ("completed", ["finished"])
    assert stack.transcript(row.id).text == first.text + second.text
    assert row.usage is not None
    assert row.usage["output_tokens"] == 9


@pytest.mark.parametrize("kind", KINDS)
def test_a_json_answer_has_the_form_that_the_client_gave(
    stack: Stack, worker: Worker, web: Web, servers: dict[str, FakeServer], kind: str
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form = {"type": "json_schema", "name": "answer", "schema": schema}
    body = {"model": model_of(kind), "input": wish(text='{"a": 1}'), "text": {"format": form}}
    response = json.loads(post(stack, web, "/v1/responses", body))
    assert [i["content"][0]["text"] for i in response["output"] if i["type"] == "message"] == ['{"a": 1}']
    sent = servers[kind].calls[-1].body
    if kind == "anthropic":
        given = sent["output_config"]["format"]
        assert given == {"type": "json_schema", "schema": {**schema, "additionalProperties": False}}
    else:
        config = sent["generationConfig"]
        assert (config["responseMimeType"], config["responseJsonSchema"]) == ("application/json", schema)


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_runs_tools_over_responses(
    stack: Stack, worker: Worker, web: Web, servers: dict[str, FakeServer], kind: str
) -> None:
    asked = wish(thought="Hm", tool_calls=[{"name": "weather", "arguments": {"city": "Oslo"}}], tool_rounds=1)
    body = {"model": model_of(kind), "tools": [{"type": "function", **FUNCTION}]}
    first = json.loads(post(stack, web, "/v1/responses", {**body, "input": asked}))
    [call] = [item for item in first["output"] if item["type"] == "function_call"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
    again = {**body, "previous_response_id": first["id"], "input": [output]}
    second = json.loads(post(stack, web, "/v1/responses", again))
    assert (second["status"], servers[kind].calls[-1].refusal) == ("completed", "")
    sent = json.dumps(servers[kind].calls[-1].body)
    assert '"signature"' in sent or "thoughtSignature" in sent
    assert "skip_thought_signature_validator" not in sent


def test_models_are_listed(stack: Stack, worker: Worker) -> None:
    def offers() -> set[str]:
        return {offer.name for offer in stack.resources.model_catalog.offers()}

    until(lambda: {"manual-fake", "gemini-2.5-fake"} <= offers(), what="the lists")
    assert "embedding-fake" not in offers()
