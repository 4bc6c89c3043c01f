"""A real worker sends what a message's files are: to each model what it takes, and again after a worker is lost."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

from app.domain.commands import StartGeneration
from app.files.storage import key_of
from app.services.files import NewFile
from app.services.generation_start import Started
from dev.valkey import Valkey
from tests import made_files as made
from tests.factories import insert, owner
from tests.fakes.upstream import Call, FakeUpstream
from tests.stack import Stack, until
from tests.unit.test_file_texts import docx, pdf

PNG = made.png(6, 4)
PDF = pdf("The plan of the house")
# So long that no machine is too slow to interrupt it in the middle.
LONG: dict[str, Any] = {"tokens": 20_000, "rate": 100}
QUICK: dict[str, Any] = {"tokens": 3, "rate": 0}
NUMBERS = iter(range(10**6))


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey, upstream: FakeUpstream
) -> Iterator[Stack]:
    with owner(module_database_url) as cursor:
        whole = {"name": "whole", "provider": "openai", "upstream_name": "fake", "accepts": json.dumps({"files": True})}
        insert(cursor, "models", whole)
        blind = {
            "name": "blind",
            "provider": "openai",
            "upstream_name": "fake",
            "accepts": json.dumps({"images": False}),
        }
        insert(cursor, "models", blind)
    directory = tmp_path_factory.mktemp("attachments")
    stack = Stack(directory, module_database_url, valkey.url(), OPENAI_BASE_URL=upstream.base_url)
    yield stack
    stack.stop()


def add(stack: Stack, data: bytes, name: str) -> str:
    return stack.resources.files.store(stack.user.id, NewFile(name, is_attachment=True), [data]).id


def start(stack: Stack, *files: str, model: str = "fake", behaviour: dict[str, Any] = QUICK, **more: Any) -> Started:
    asked = json.dumps({"fake": {"key": next(NUMBERS), **behaviour}})
    command = StartGeneration(message=asked, model=model, attachments=files, **more)
    return stack.resources.starter.start(stack.user, command)


def calls_of(upstream: FakeUpstream, started: Started) -> list[Call]:
    key = json.loads(started.message.content)["fake"]["key"]
    return [call for call in upstream.calls if f'"key": {key},' in str(call.body["messages"])]


def sent(call: Call, at: int = -1) -> Any:
    return call.body["messages"][at]["content"]


def test_each_model_receives_what_it_takes_of_a_file(stack: Stack, upstream: FakeUpstream) -> None:
    """One conversation, whose later messages go to models that take less of it."""
    worker = stack.worker(5)
    image, plan, letter = add(stack, PNG, "cat.png"), add(stack, PDF, "plan.pdf"), add(stack, docx(), "letter.docx")
    first = start(stack, image, plan, letter, model="whole")
    ended = stack.finished(first.generation.id)
    assert ended.status == "completed", ended.error
    [text, shown, document, letter_text] = sent(calls_of(upstream, first)[0])
    assert text == {"type": "text", "text": first.message.content}
    assert shown == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64encode(PNG).decode()}"}}
    data = f"data:application/pdf;base64,{b64encode(PDF).decode()}"
    assert document == {"type": "file", "file": {"filename": "plan.pdf", "file_data": data}}
    assert "Grüße aus Wörth" in letter_text["text"]
    assert [file["as"] for file in ended.attempts[0]["files"]] == ["bytes", "bytes", "text"]

    stack.resources.files.delete(stack.user.id, letter)
    second = start(stack, model="blind", conversation_id=first.conversation.id)
    ended = stack.finished(second.generation.id)
    earlier = sent(calls_of(upstream, second)[0], 0)
    assert isinstance(earlier, str)
    assert "“cat.png” is not here: this model takes no images" in earlier
    assert "The plan of the house" in earlier
    assert "“letter.docx” is not here: it was deleted" in earlier
    assert {file["filename"]: file["as"] for file in ended.attempts[0]["files"]} == {
        "cat.png": "nothing", "plan.pdf": "text", "letter.docx": "nothing"
    }  # fmt: skip
    offline = stack.finished(start(stack, image, model="offline-fast").generation.id)
    told = stack.transcript(offline.id).text
    assert f"**cat.png**, an image of {len(PNG)} bytes (image/png), SHA-256 `{sha256(PNG).hexdigest()[:12]}…`" in told

    found = stack.resources.files.find(stack.user.id, plan)
    stack.resources.settings.file_storage.delete(key_of(found.user_id, found.sha256))
    third = start(stack, model="whole", conversation_id=first.conversation.id)
    ended = stack.finished(third.generation.id)
    assert ended.status == "completed", ended.error
    earlier = str(sent(calls_of(upstream, third)[0], 0))
    assert b64encode(PNG).decode() in earlier
    assert "“plan.pdf” is not here: its bytes are missing" in earlier
    worker.kill()


def test_files_survive_the_queue_and_a_lost_worker(stack: Stack, upstream: FakeUpstream) -> None:
    """The request waits while no worker is there; the worker that takes over sends the files once more."""
    started = start(stack, add(stack, PNG, "cat.png"), behaviour=LONG)
    first = stack.worker(5)
    until(
        lambda: calls_of(upstream, started) and calls_of(upstream, started)[0].tokens_sent > 5, what="an answer begun"
    )
    first.kill()
    second = stack.worker(5)
    until(lambda: len(calls_of(upstream, started)) > 1, what="a takeover")
    for call in calls_of(upstream, started):
        contents = [message["content"] for message in call.body["messages"] if isinstance(message["content"], list)]
        assert b64encode(PNG).decode() in str(contents)
    stack.resources.generations.cancel(stack.user, started.generation.id)
    second.kill()
