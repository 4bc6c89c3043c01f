"""A real worker names conversations: in the background, once, and never over a person's choice."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from redis.client import PubSub

from app.domain.commands import ChangeConversation
from app.eventlog.client import redis_client
from app.services.titles import Titles
from dev.valkey import Valkey
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, until

NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey, upstream: FakeUpstream
) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("titles")
    stack = Stack(directory, module_database_url, valkey.url(), OPENAI_BASE_URL=upstream.base_url, TITLES="model")
    stack.worker(20)
    yield stack
    stack.stop()


def title_of(stack: Stack, conversation_id: str) -> str | None:
    return stack.resources.conversations.get(stack.user, conversation_id).title


def titled(stack: Stack, conversation_id: str, timeout: float = 60) -> str:
    return until(lambda: title_of(stack, conversation_id), timeout, "a title", 0.02)  # type: ignore[return-value]


def names_in_feed(stack: Stack, conversation_id: str) -> list[str]:
    lines = stack.resources.feeds.of_conversation(stack.user, conversation_id, 0).lines
    return [line.change.kind for line in lines]


def title_calls(upstream: FakeUpstream, message: str) -> int:
    """The number of calls that requested a title for a conversation that begins with ``message``."""
    said = [call.body["messages"][-1]["content"] for call in upstream.calls]
    return sum(1 for content in said if message in content and content != message)


def test_an_offline_conversation_is_named_by_its_first_words(stack: Stack) -> None:
    begun = stack.start("How does a lighthouse work?", model="offline-fast")
    assert titled(stack, begun.conversation.id) == "How does a lighthouse work?"
    stack.finished(begun.generation.id)
    assert sorted(names_in_feed(stack, begun.conversation.id)) == [
        "conversation.updated",
        "message.new",
        "message.new",
        "message.updated",
    ]


def test_a_title_is_heard_in_the_open_stream_before_the_end(stack: Stack) -> None:
    web = stack.web()
    # A title is sent to connected clients only. It takes 3 s here and the answer 8 s, so the client is connected.
    message = behaving("A stream that tells its title", first_delay=0, text=None, tokens=160, rate=20)
    asked = {"message": message, "model": "fake?first_delay=3&text=Tides", "stream": True}
    body = json.dumps(asked).encode()
    headers = {"Authorization": f"Bearer {stack.token()}", "Content-Type": "application/json"}
    with NO_PROXY.open(urllib.request.Request(f"{web.url}/api/v1/generations", body, headers), timeout=90) as answer:
        blocks = answer.read().decode().split("\n\n")
    titles = [n for n, block in enumerate(blocks) if '"type":"title"' in block]
    (end,) = [n for n, block in enumerate(blocks) if '"type":"done"' in block]
    assert len(titles) == 1
    assert titles[0] < end
    assert blocks[titles[0]] == 'data: {"type":"title","title":"Tides"}', "it has no id"
    numbers = [int(line[6:]) for block in blocks for line in block.splitlines() if line.startswith("id: 1-")]
    assert numbers == list(range(len(numbers)))


def test_a_model_is_asked_once_and_beside_the_answer(stack: Stack, upstream: FakeUpstream) -> None:
    message = "Tell me about bridges of the north"
    begun = stack.start(message, model="fake")
    title = titled(stack, begun.conversation.id)
    stack.finished(begun.generation.id)
    assert 0 < len(title) <= 60
    again = stack.start("And of the south?", conversation_id=begun.conversation.id, model="fake")
    stack.finished(again.generation.id)
    assert title_calls(upstream, message) == 1
    assert title_of(stack, begun.conversation.id) == title


def test_a_title_somebody_chose_stays(stack: Stack) -> None:
    begun = stack.start("Name this one", model="offline")
    stack.resources.conversations.change(stack.user, begun.conversation.id, ChangeConversation(title="Mine"))
    stack.finished(begun.generation.id)
    time.sleep(0.3)
    # The worker may set a title before the user does, and never after.
    assert title_of(stack, begun.conversation.id) == "Mine"
    assert names_in_feed(stack, begun.conversation.id).count("conversation.updated") <= 2


def behaving(message: str, **behaviour: Any) -> str:
    """A message whose answer behaves as given. Its beginning, from which a title is made, has no such settings."""
    return f"{message} {'and so on ' * 250}" + json.dumps({"fake": behaviour})


def test_a_provider_that_fails_leaves_the_first_words(stack: Stack) -> None:
    message = behaving("What nobody can name", status=None, tokens=5)
    begun = stack.start(message, model="fake?status=500")
    assert titled(stack, begun.conversation.id).startswith("What nobody can name and so on")
    assert stack.finished(begun.generation.id).status == "completed"


THOUGHT = "Okay, the user wants a title. "


@pytest.mark.parametrize(
    ("reply", "finish", "title"),
    [
        (f"<think>\n{THOUGHT}</think>\n\nNice Greeting", "stop", "Nice Greeting"),
        (f"{THOUGHT}\n</think>\n\nNice Greeting", "stop", "Nice Greeting"),
        (f"<think>\n{THOUGHT}", "length", None),
        (f"<think>\n{THOUGHT}", "stop", None),
        (THOUGHT, "length", None),
        (f"{THOUGHT * 20}\n</think>\n\nNice Greeting", "stop", None),
    ],
)
def test_a_title_has_no_thoughts(stack: Stack, reply: str, finish: str, title: str | None) -> None:
    message = behaving(f"A greeting {len(reply)}{finish}", text=None, finish="stop", tokens=3)
    begun = stack.start(message, model="fake?" + urlencode({"text": json.dumps(reply), "finish": finish}))
    named = titled(stack, begun.conversation.id)
    assert named == title if title else named.startswith("A greeting")


def test_an_answer_does_not_wait_for_its_title(stack: Stack) -> None:
    message = behaving("Slow to be named", first_delay=0, tokens=5)
    begun = stack.start(message, model="fake?first_delay=30")
    assert stack.finished(begun.generation.id).status == "completed"
    # After 10 s the worker takes the first words as the title.
    assert titled(stack, begun.conversation.id).startswith("Slow to be named")
    assert names_in_feed(stack, begun.conversation.id)[-2:] == ["message.updated", "conversation.updated"]


def test_a_conversation_of_a_program_costs_no_second_call(stack: Stack, upstream: FakeUpstream) -> None:
    message = "Asked by a program"
    begun = stack.start(message, model="fake", request={"surface": "chat"})
    assert titled(stack, begun.conversation.id) == message
    assert title_calls(upstream, message) == 0


def test_a_title_that_comes_behind_a_persons_is_neither_given_nor_told(stack: Stack) -> None:
    resources = stack.resources
    begun = stack.start("Is it too late?", model="fake")
    conversation, generation = begun.conversation.id, begun.generation.id
    resources.conversations.change(stack.user, conversation, ChangeConversation(title="Mine"))
    late = Titles(resources.database, resources.log)
    channel = resources.log.keys(generation).channel.decode()
    with redis_client(stack.settings.redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as listening:
        listening.subscribe(channel)
        until(lambda: client.pubsub_numsub(channel)[0][1] == 1)
        assert not late.give(conversation, generation, "Theirs")
        client.publish(channel, b"marker")
        heard: list[bytes] = []
        until(lambda: _hear(listening, heard) and heard[-1] == b"marker")
    assert not [message for message in heard if b"Theirs" in message]
    assert title_of(stack, conversation) == "Mine"


def _hear(listening: PubSub, heard: list[bytes]) -> bool:
    message = listening.get_message(timeout=0.1)
    if message is not None:
        heard.append(message["data"])
    return bool(heard)
