"""Another user's ids are answered like ids that do not exist, on every route of the document, behind any pooler.

Two defences hold by themselves: the policies of row-level security, and a condition on the user in each statement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from uuid import uuid4
from zipfile import ZipFile

import pytest
from flask_openapi3.openapi import OpenAPI
from sqlalchemy import event
from werkzeug.test import TestResponse

from app.api.openai import webhook_test
from app.api.web_process import EXTENSION
from app.domain.audit import SERVICE
from app.domain.session import SignIn
from app.store.database import Database
from app.store.isolation import user_tables
from app.wiring import Resources
from tests.factories import owner
from tests.integration.api.conftest import Hand, Person

SECRET = "marmalade"
METHODS = ("get", "post", "put", "patch", "delete")
# Objects of models have no user.
OF_NOBODY = ("model",)
OF_ADMINISTRATORS = ("/api/v1/ops/", "/api/v1/service-accounts")
# The body that a route requires beside the id, so that a refusal is about the id.
BODIES: dict[tuple[str, str], Any] = {
    ("post", "/api/v1/messages/{message_id}/regenerate"): {},
    ("post", "/api/v1/messages/{message_id}/continue"): {},
    ("post", "/api/v1/messages/{message_id}/edit"): {"message": "changed"},
    ("put", "/api/v1/messages/{message_id}/feedback"): {"rating": 1},
    ("patch", "/api/v1/conversations/{conversation_id}"): {"title": "changed"},
    ("patch", "/api/v1/api-keys/{key_id}"): {"name": "changed"},
    ("post", "/v1/conversations/{conversation_id}"): {"metadata": {"changed": "yes"}},
    ("post", "/v1/webhook_endpoints/{endpoint_id}"): {"name": "changed"},
    ("post", "/v1/webhook_endpoints/{endpoint_id}/test"): {"event_type": "response.failed"},
    ("post", "/v1/conversations/{conversation_id}/items"): {"items": [{"role": "user", "content": "changed"}]},
}
BODIES["post", "/v1/uploads/{upload_id}/complete"] = {"part_ids": ["part_01890000000070008000000000000000"]}
# Routes whose body is a form with a part of a file.
OF_PARTS = (("patch", "/api/v1/uploads/{upload_id}"), ("post", "/v1/uploads/{upload_id}/parts"))
# A chat has the id that its user gave it: for any other user, a chat with this id has no messages.
EMPTY = {
    ("get", "/api/chat/{chat_id}"): 200,
    ("get", "/api/chat/{chat_id}/stream"): 204,
    ("post", "/api/chat/{chat_id}/stop"): 200,
}


@dataclass(frozen=True)
class Things:
    """The ids of one user's objects, by surface and by the name of the path's parameter; ``ids`` are all of them."""

    native: dict[str, str]
    openai: dict[str, str]
    chats: dict[str, str]

    def named(self, path: str) -> dict[str, str]:
        return self.openai if path.startswith("/v1/") else self.chats if path.startswith("/api/chat") else self.native

    @property
    def ids(self) -> set[str]:
        return {id_ for group in (self.native, self.openai, self.chats) for id_ in group.values()}


NOWHERE = Things(
    dict.fromkeys(
        ("generation_id", "conversation_id", "message_id", "key_id", "session_id", "delivery_id"),
        "01890000-0000-7000-8000-000000000000",
    )
    | {
        "file_id": "file-01890000000070008000000000000000",
        "upload_id": "upload_01890000000070008000000000000000",
    },
    {
        "response_id": "resp_01890000000070008000000000000000",
        "conversation_id": "conv_01890000000070008000000000000000",
        "item_id": "msg_018900000000700080000000000000000000",
        "endpoint_id": "we_01890000000070008000000000000000",
        "file_id": "file-01890000000070008000000000000000",
        "upload_id": "upload_01890000000070008000000000000000",
    },
    {"chat_id": "nothing-here"},
)


def things(person: Person, resources: Resources) -> Things:
    """Make one object of each kind, finished, with a word that no other user's text has."""
    endpoint = {"name": SECRET, "url": f"https://example.com/{SECRET}", "event_types": ["response.completed"]}
    for earlier in person.get("/v1/webhook_endpoints").json["data"]:  # their number has a limit
        person.delete(f"/v1/webhook_endpoints/{earlier['id']}")
    receiver = person.post("/v1/webhook_endpoints", json=endpoint).json["id"]
    made = person.start(f"a {SECRET} of mine")
    Hand(resources, made["generation"]["id"]).run(SECRET)
    assert person.post(f"/api/v1/conversations/{made['conversation']['id']}/share").status_code == 201
    answer = person.post("/v1/responses", json={"input": SECRET, "background": True, "model": "offline"})
    assert answer.status_code == 200, answer.text
    Hand(resources, _uuid(answer.json["id"])).run(SECRET)
    talk = person.post("/v1/conversations", json={"items": [{"role": "user", "content": SECRET}]}).json["id"]
    item = person.get(f"/v1/conversations/{talk}/items").json["data"][0]["id"]
    chat = f"chat-{uuid4().hex}"
    message = {"id": uuid4().hex[:16], "role": "user", "parts": [{"type": "text", "text": SECRET}]}
    begun = person.post("/api/chat", json={"id": chat, "messages": [message], "trigger": "submit-message"})
    assert begun.status_code == 200, begun.text
    begun.close()
    sent, *_ = person.get(f"/api/v1/webhook-deliveries?endpoint={receiver}").json["items"]
    file = {"file": (BytesIO(SECRET.encode()), f"{SECRET}.txt")}
    uploaded = person.post("/api/v1/files", data=file, content_type="multipart/form-data").json["id"]
    begun_upload = person.post("/api/v1/uploads", json={"filename": f"{SECRET}.txt", "bytes": 5}).json["id"]
    return Things(
        {
            "delivery_id": sent["id"],
            "file_id": uploaded,
            "upload_id": begun_upload,
            "generation_id": made["generation"]["id"],
            "conversation_id": made["conversation"]["id"],
            "message_id": made["generation"]["message_id"],
            "session_id": resources.sessions.begin(SignIn(person.get("/api/v1/me").json["id"], "link"), SERVICE).id,
            "key_id": person.post("/api/v1/api-keys", json={"name": SECRET}).json["id"],
        },
        {"response_id": answer.json["id"], "conversation_id": talk, "item_id": item, "endpoint_id": receiver}
        | {"file_id": uploaded, "upload_id": begun_upload},
        {"chat_id": chat},
    )


def _uuid(name: str) -> str:
    digits = name.partition("_")[2]
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))


def routes(app: OpenAPI) -> list[tuple[str, str]]:
    """Method and path of every route of the document that takes the id of a user's object."""
    document = app.test_client().get("/openapi.json").json
    return [
        (method, path)
        for path, operations in document["paths"].items()
        for method in operations
        if method in METHODS and _parameters(path) and not path.startswith(OF_ADMINISTRATORS)
    ]


def _parameters(path: str) -> list[str]:
    return [name for name in re.findall(r"{(\w+)}", path) if name not in OF_NOBODY]


def ask(person: Person, method: str, path: str, named: dict[str, str]) -> TestResponse:
    """Send one request. For an edit, the id is that of the user's message and not of its answer."""
    options: dict[str, Any] = {"json": BODIES[method, path]} if (method, path) in BODIES else {}
    if (method, path) in OF_PARTS:
        part = {"data": (BytesIO(b"hello"), "part")}
        options = {"data": part, "content_type": "multipart/form-data", "query_string": {"offset": 0}}
    answer: TestResponse = person._ask(method.upper(), path.format(**named), options)
    return answer


def said(answer: TestResponse, ids: set[str]) -> tuple[int, str]:
    """Status and body of a reply, with the ids taken out. The body of an open stream is not read."""
    if answer.content_type.startswith("text/event-stream"):
        answer.close()
        return answer.status_code, ""
    text = answer.text
    for id_ in sorted(ids, key=len, reverse=True):
        text = text.replace(id_, "…").replace(_uuid(id_), "…") if "_" in id_ else text.replace(id_, "…")
    return answer.status_code, re.sub(r'"request_id":"[^"]*"', "", text)


def unpacked(answer: TestResponse) -> str:
    """The text of a reply; of an archive, the texts of its files."""
    if answer.content_type != "application/zip":
        return answer.text
    with ZipFile(BytesIO(answer.data)) as archive:
        return "".join(archive.read(name).decode() for name in archive.namelist())


def everything(person: Person, found: list[tuple[str, str]], mine: Things) -> dict[str, tuple[int, str]]:
    """The replies to every GET of a user for their own objects."""
    return {path: said(ask(person, "get", path, mine.named(path)), set()) for method, path in found if method == "get"}


# --- the two defences ------------------------------------------------------------------------------------------------


@contextmanager
def both(app: OpenAPI, url: str) -> Iterator[None]:
    yield


@contextmanager
def only_conditions(app: OpenAPI, url: str) -> Iterator[None]:
    """Switch row-level security off: the statements alone have to keep users apart."""
    database = Database(url, 1)
    with database.without_user() as tx:
        tables = user_tables(tx)
    database.close()
    with owner(url) as cursor:
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    try:
        yield
    finally:
        with owner(url) as cursor:
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


@contextmanager
def only_policies(app: OpenAPI, url: str) -> Iterator[None]:
    """Take the user's id out of the statements: the policies alone have to keep users apart."""
    database = app.extensions[EXTENSION].resources.database
    forgotten = 0

    def forget(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        nonlocal forgotten
        if isinstance(parameters, dict) and parameters.get("me"):
            forgotten += 1
            parameters = {**parameters, "me": None}
        return statement, parameters

    asked = database._ask_driver
    database._ask_driver = lambda sql, values: asked(sql, {**values, "me": None})
    event.listen(database.engine, "before_cursor_execute", forget, retval=True)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", forget)
        del database._ask_driver
    assert forgotten, "the statements have no condition to forget"


DEFENCES = [both, only_conditions, only_policies]
Defence = Callable[[OpenAPI, str], Any]


# --- tests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: defence.__name__)
def test_a_foreign_id_is_answered_like_one_that_does_not_exist(
    app: OpenAPI, alice: Person, bob: Person, resources: Resources, module_database_url: str, defence: Defence
) -> None:
    mine = things(alice, resources)
    bob.start("something of his own")
    found = routes(app)
    assert len(found) >= 26
    before = everything(alice, found, mine)
    with defence(app, module_database_url):
        for method, path in found:
            foreign = said(ask(bob, method, path, mine.named(path)), mine.ids)
            missing = said(ask(bob, method, path, NOWHERE.named(path)), NOWHERE.ids)
            assert foreign == missing, (method, path)
            assert foreign[0] == EMPTY.get((method, path), 404), (method, path, foreign)
    assert everything(alice, found, mine) == before


def test_the_same_requests_reach_what_is_ones_own(
    app: OpenAPI, alice: Person, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The requests of the test above succeed for the owner, so their refusals are about the user."""
    monkeypatch.setattr(webhook_test, "TEST_SECONDS", 0.0)  # no worker sends here
    for method, path in routes(app):
        mine = things(alice, resources)
        if path.endswith("/edit"):
            first = alice.get(f"/api/v1/conversations/{mine.native['conversation_id']}/messages").json["items"][0]
            mine.native["message_id"] = first["message_id"]
        answer = ask(alice, method, path, mine.named(path))
        assert answer.status_code != 404, (method, path, answer.text)
        answer.close()
        alice.delete(f"/api/v1/uploads/{mine.native['upload_id']}")  # their number has a limit


def _references(mine: Things) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and options of requests whose bodies name one of the objects."""
    conversation, generation = mine.native["conversation_id"], mine.native["generation_id"]
    response, talk = mine.openai["response_id"], mine.openai["conversation_id"]
    parent = {"message": "x", "conversation_id": conversation, "parent_id": mine.native["message_id"]}
    return [
        ("POST", "/api/v1/generations", {"json": {"message": "x", "conversation_id": conversation}}),
        ("POST", "/api/v1/generations", {"json": parent}),
        ("POST", "/api/v1/stream-tickets", {"json": {"generation_id": generation}}),
        ("POST", "/api/v1/stream-tickets", {"json": {"conversation_id": conversation}}),
        ("POST", "/v1/responses", {"json": {"input": "x", "background": True, "previous_response_id": response}}),
        ("POST", "/v1/responses", {"json": {"input": "x", "background": True, "conversation": talk}}),
    ]


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: defence.__name__)
def test_a_foreign_id_inside_a_request_is_one_that_does_not_exist(
    app: OpenAPI, alice: Person, bob: Person, resources: Resources, module_database_url: str, defence: Defence
) -> None:
    mine = things(alice, resources)
    with defence(app, module_database_url):
        for (method, path, foreign), (_, _, missing) in zip(_references(mine), _references(NOWHERE), strict=True):
            refused = said(bob._ask(method, path, dict(foreign)), mine.ids)
            assert refused == said(bob._ask(method, path, dict(missing)), NOWHERE.ids), (path, foreign)
            assert refused[0] in (404, 400), (path, foreign, refused)


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: defence.__name__)
def test_no_list_search_or_sum_has_anything_of_somebody_else(
    app: OpenAPI, alice: Person, bob: Person, resources: Resources, module_database_url: str, defence: Defence
) -> None:
    mine = things(alice, resources)
    bob.start("something of his own")
    document = app.test_client().get("/openapi.json").json
    lists = [
        path
        for path, operations in document["paths"].items()
        if "get" in operations and "{" not in path and path not in ("/api/v1/feed", "/api/v1/models/all")
    ]
    assert "/api/v1/conversations" in lists
    with defence(app, module_database_url):
        for path in (*lists, f"/api/v1/search?q={SECRET}", "/api/v1/conversations?archived=true"):
            answer = bob.get(path)
            if path.startswith(OF_ADMINISTRATORS):
                assert answer.status_code == 403
                continue
            text = unpacked(answer)
            assert SECRET not in text.replace(f"q={SECRET}", ""), path
            assert not [id_ for id_ in mine.ids if id_ in text], path
        feed = bob.get(f"/api/v1/feed?generations={mine.native['generation_id']}:0-0")
        if feed.status_code == 200:
            begun = b"".join(next(iter(feed.response)) for _ in range(1))
            assert SECRET.encode() not in begun
        feed.close()
    assert alice.get(f"/api/v1/search?q={SECRET}").json["items"], "there is something to be found"


def test_a_ticket_opens_nothing_of_somebody_else(alice: Person, bob: Person, resources: Resources) -> None:
    mine, theirs = things(alice, resources), things(bob, resources)
    generation = theirs.native["generation_id"]
    ticket = bob.post("/api/v1/stream-tickets", json={"generation_id": generation}).json["ticket"]
    anybody = alice.client
    own = anybody.get(f"/api/v1/generations/{generation}/stream?ticket={ticket}")
    assert own.status_code == 200
    own.close()
    for path in (
        f"/api/v1/generations/{mine.native['generation_id']}/stream",
        f"/api/v1/conversations/{mine.native['conversation_id']}/events",
        "/api/v1/feed",
        f"/v1/responses/{mine.openai['response_id']}",
    ):
        assert anybody.get(f"{path}?ticket={ticket}").status_code == 401, path


def test_what_somebody_has_is_still_there_and_as_it_was(alice: Person, bob: Person, resources: Resources) -> None:
    mine = things(alice, resources)
    path = f"/api/v1/conversations/{mine.native['conversation_id']}"
    before = alice.get(path).json
    for method, options in (("PATCH", {"json": {"title": "stolen"}}), ("DELETE", {}), ("POST", {"json": {}})):
        bob._ask(method, path, dict(options))
    bob.get(f"{path}/export?format=md")
    assert alice.get(path).json == before
