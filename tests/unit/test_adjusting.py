"""A refused request is repeated without the refused part, a bounded number of times, and only before the first text."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.domain.answer_format import AnswerFormat
from app.domain.targets import Target
from app.domain.upstreams import Upstream
from tests.fakes.raw_server import RawServer
from worker.answer_format import policy
from worker.limits import Limits
from worker.providers.base import ChatMessage, Emit, Piece, Prompt, ProviderError, Text
from worker.providers.chat.provider import OpenAICompatible
from worker.providers.learning.adjusting import MOST_ADJUSTMENTS
from worker.providers.learning.learned import Learned
from worker.providers.responses.provider import OpenAIResponses
from worker.target_call import Candidate

HELLO = Prompt("m", (ChatMessage("system", "Be brief."), ChatMessage("user", "Hi")))
TEXT = 'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
END = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
STREAM, JSON = "text/event-stream", "application/json"
# The status, the content type and the body of a reply.
Reply = tuple[int, str, str]
GOOD: Reply = (200, STREAM, TEXT + END)


class Answers:
    """An upstream whose reply is made of the request's body."""

    def __init__(self, reply: Callable[[dict[str, Any]], Reply], learned: Learned | None = None) -> None:
        self._reply = reply
        self.bodies: list[dict[str, Any]] = []
        self.learned = learned or Learned()
        self.keys: list[bytes] = []

    def ask(self, prompt: Prompt = HELLO, kind: type[Any] = OpenAICompatible, **fields: Any) -> str:
        """The text of one answer. Raises ProviderError."""
        pieces: list[Piece] = []

        async def answer() -> None:
            provider = kind(Upstream("u", "openai", f"{server.origin}/v1", **fields), Limits(), learned=self.learned)
            try:
                async with asyncio.timeout(10):
                    await provider.stream(prompt, pieces.extend)
            finally:
                await provider.close()

        with RawServer(self._serve) as server:
            asyncio.run(answer())
        return "".join(piece.text for piece in pieces if isinstance(piece, Text))

    def _serve(self, connection: socket.socket, request: bytes) -> None:
        self.bodies.append(json.loads(request.partition(b"\r\n\r\n")[2]))
        status, kind, body = self._reply(self.bodies[-1])
        self.keys += re.findall(rb"(?i)idempotency-key: (\S+)", request)
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close"
        connection.sendall(f"{head}\r\n\r\n{body}".encode())


def refusal(name: str) -> dict[str, Any]:
    return {"error": {"message": f"Unknown parameter: '{name}'.", "type": "invalid_request_error", "code": 400}}


@pytest.mark.parametrize(
    "refused",
    [
        (400, JSON, json.dumps(refusal("stream_options"))),
        (422, "text/plain", "unknown field `stream_options`"),
        (200, JSON, json.dumps(refusal("stream_options"))),
        (200, STREAM, f"data: {json.dumps(refusal('stream_options'))}\n\ndata: [DONE]\n\n"),
        (200, STREAM, f"event: error\ndata: {json.dumps(refusal('stream_options'))}\n\n"),
    ],
)
def test_a_refusal_is_followed_by_one_request_and_remembered(refused: Reply) -> None:
    upstream = Answers(lambda body: refused if "stream_options" in body else GOOD)
    assert upstream.ask() == "Hello"
    assert ["stream_options" in body for body in upstream.bodies] == [True, False]
    assert upstream.ask() == "Hello"
    assert len(upstream.bodies) == 3


def test_a_refusal_behind_the_first_text_is_the_error_of_the_answer() -> None:
    upstream = Answers(lambda body: (200, STREAM, f"{TEXT}data: {json.dumps(refusal('stream_options'))}\n\n"))
    with pytest.raises(ProviderError, match="stream_options"):
        upstream.ask()
    assert len(upstream.bodies) == 1


def test_a_refusal_that_comes_again_is_not_repeated_and_not_remembered() -> None:
    upstream = Answers(lambda body: (400, JSON, json.dumps(refusal("stream_options"))))
    for calls in (2, 4):
        with pytest.raises(ProviderError, match="stream_options"):
            upstream.ask()
        assert len(upstream.bodies) == calls


def test_a_refusal_inside_an_answer_that_comes_again_is_not_remembered() -> None:
    upstream = Answers(lambda body: (200, STREAM, f"data: {json.dumps(refusal('stream_options'))}\n\n"))
    with pytest.raises(ProviderError, match="stream_options"):
        upstream.ask()
    assert not upstream.learned.lacks("u", "m")


@pytest.mark.parametrize(
    ("message", "is_remembered"),
    [
        ("temperature 5 is not supported", False),
        ("`temperature` of 5.0 is not allowed; allowed is 0 to 2", False),
        ("temperature is not supported", True),
        ("'temperature' does not support 5 with this model. Only the default (1) value is supported.", True),
        ("temperature is not supported by model-5 and model 5.2", True),
    ],
)
def test_a_refusal_of_one_users_value_is_not_remembered_for_others(message: str, is_remembered: bool) -> None:
    body = json.dumps({"error": {"message": message}})
    upstream = Answers(lambda asked: (400, JSON, body) if asked.get("temperature") == 5 else GOOD)
    assert upstream.ask(replace(HELLO, parameters={"temperature": 5})) == "Hello"
    assert len(upstream.bodies) == 2
    assert bool(upstream.learned.lacks("u", "m")) is is_remembered
    upstream.ask(replace(HELLO, parameters={"temperature": 0.5}))
    assert ("temperature" in upstream.bodies[-1]) is not is_remembered


def test_the_repetitions_of_a_request_are_bounded() -> None:
    wishes = {"temperature": 0.5, "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": 1, "max_tokens": 5}

    def picky(body: dict[str, Any]) -> Reply:
        name = next((name for name in (*wishes, "stream_options") if name in body), None)
        return (400, JSON, json.dumps(refusal(name))) if name else GOOD

    upstream = Answers(picky)
    with pytest.raises(ProviderError):
        upstream.ask(replace(HELLO, parameters=wishes))
    assert len(upstream.bodies) == MOST_ADJUSTMENTS + 1


def test_a_prefix_goes_on_by_an_instruction_and_its_repetition_is_cut() -> None:
    def template(body: dict[str, Any]) -> Reply:
        if body["messages"][-1]["role"] == "assistant":
            return 400, JSON, '{"error":{"message":"The conversation must end with a user message. No prefill."}}'
        chunk = {"choices": [{"index": 0, "delta": {"content": "Once upon a time there was a king"}}]}
        return 200, STREAM, f"data: {json.dumps(chunk)}\n\n{END}"

    upstream = Answers(template)
    assert may_continue_json(upstream.learned)
    assert upstream.ask(replace(HELLO, prefix="Once upon a time there"), continuation="prefill") == " was a king"
    assert len(upstream.bodies) == 2
    assert not may_continue_json(upstream.learned)


def may_continue_json(learned: Learned) -> bool:
    """True when an interrupted JSON answer of HELLO's model is continued."""
    provider = OpenAICompatible(Upstream("u", "openai", "http://u/v1", continuation="prefill"), learned=learned)
    candidate = Candidate(Target(upstream="u", name=HELLO.model), provider)
    return "continue" in policy(AnswerFormat(), candidate, ("continue", "error"))


def test_a_template_without_system_role_gets_its_text_from_the_user() -> None:
    def gemma(body: dict[str, Any]) -> Reply:
        said = '{"object":"error","message":"System role not supported","type":"BadRequestError","code":400}'
        return (400, JSON, said) if body["messages"][0]["role"] == "system" else GOOD

    upstream = Answers(gemma)
    assert upstream.ask() == "Hello"
    assert upstream.bodies[-1]["messages"] == [{"role": "user", "content": "Be brief.\n\nHi"}]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_setting_names_the_limit(name: str) -> None:
    upstream = Answers(lambda body: GOOD)
    for given in ("max_tokens", "max_completion_tokens"):
        upstream.ask(replace(HELLO, parameters={given: 7}), token_limit_name=name)
        assert {key: upstream.bodies[-1].get(key) for key in ("max_tokens", "max_completion_tokens")} == {
            "max_tokens": None,
            "max_completion_tokens": None,
            name: 7,
        }


@pytest.mark.parametrize("has_runs", [False, True])
def test_a_responses_upstream_is_learned_from_too(has_runs: bool) -> None:
    response = {"id": "resp_1", "status": "completed", "output": [], "usage": None}
    item = {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}
    events = [
        {"type": "response.created", "sequence_number": 0, "response": {**response, "status": "in_progress"}},
        {"type": "response.output_text.delta", "sequence_number": 1, "output_index": 0, "delta": "Hello"},
        {"type": "response.completed", "sequence_number": 2, "response": {**response, "output": [item]}},
    ]
    stream = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)

    def reasoning(body: dict[str, Any]) -> Reply:
        refused = (400, JSON, json.dumps(refusal("temperature")))
        return refused if "temperature" in body else (200, STREAM, stream)

    class Runs(OpenAIResponses):
        """Calls of this provider begin runs."""

        async def stream(self, prompt: Prompt, emit: Emit) -> None:
            async def began(run_id: str) -> None: ...

            await self.run(prompt, emit, began, None, "key")

    upstream = Answers(reasoning)
    kind = Runs if has_runs else OpenAIResponses
    for calls in (2, 3):
        assert upstream.ask(replace(HELLO, parameters={"temperature": 0.2, "max_tokens": 9}), kind) == "Hello"
        assert len(upstream.bodies) == calls
    assert upstream.keys == ([b"key", b"key-temperature", b"key-temperature"] if has_runs else [])
