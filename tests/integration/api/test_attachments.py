"""Files in messages: attached by id or in data URLs, shown with the message, refused by field, taken along."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from werkzeug.test import TestResponse

from app.api.aisdk import bodies
from app.files.storage import key_of
from app.store.database import fetch
from app.wiring import Resources
from tests import made_files as made

from .conftest import Person, token

PNG = made.png(6, 4)
URL = f"data:image/png;base64,{b64encode(PNG).decode()}"
TEXT_URL = f"data:text/plain;base64,{b64encode(b'some text').decode()}"


def upload(person: Person, data: bytes = PNG, name: str = "cat.png") -> str:
    form = {"file": (io.BytesIO(data), name)}
    answer = person.post("/api/v1/files", data=form, content_type="multipart/form-data")
    assert answer.status_code == 201, answer.text
    found: str = answer.json["id"]
    return found


def post(person: Person, message: str = "Look", **body: Any) -> TestResponse:
    return person.post("/api/v1/generations", json={"message": message, **body})


def refused(answer: TestResponse) -> tuple[int, str]:
    assert answer.status_code >= 400, answer.text
    if "error" in answer.json:
        return answer.status_code, answer.json["error"]["param"]
    return answer.status_code, answer.json["errors"][0]["field"]


def messages(person: Person, conversation_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = person.get(f"/api/v1/conversations/{conversation_id}/messages").json["items"]
    return found


def stored_items(resources: Resources, conversation_id: str) -> Any:
    with resources.database.system() as tx:
        sql = "SELECT items FROM messages WHERE conversation_id = :id ORDER BY seq LIMIT 1"
        return fetch(tx, sql, id=conversation_id)[0].items


def test_attached_files_are_shown_with_their_message(alice: Person, resources: Resources) -> None:
    file_id = upload(alice)
    made_of = post(alice, attachments=[file_id]).json
    shown = {
        "file_id": file_id, "filename": "cat.png", "media_type": "image/png", "bytes": len(PNG), "width": 6, "height": 4
    }  # fmt: skip
    assert made_of["message"]["attachments"] == [shown]
    question, answer = messages(alice, made_of["conversation"]["id"])
    assert (question["content"], question["attachments"], answer["attachments"]) == ("Look", [shown], [])
    facts = {name: shown[name] for name in ("filename", "media_type", "bytes", "width", "height")}
    assert stored_items(resources, made_of["conversation"]["id"]) == [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "file_id": file_id, "detail": "auto", **facts},
            ],
        }
    ]
    alice.delete(f"/api/v1/files/{file_id}")
    assert messages(alice, made_of["conversation"]["id"])[0]["attachments"] == [shown]


def test_a_message_may_consist_of_files(alice: Person) -> None:
    found = post(alice, "", attachments=[upload(alice)])
    assert found.status_code == 202, found.text
    assert found.json["message"]["content"] == ""
    assert alice.get(f"/api/v1/conversations/{found.json['conversation']['id']}").json["preview"] == "cat.png"
    assert refused(post(alice, "")) == (422, "message")
    assert refused(post(alice, " ", attachments=[])) == (422, "message")


def test_a_repeated_request_with_files_is_done_once(alice: Person) -> None:
    file_id, other = upload(alice), upload(alice, b"text", "a.txt")
    first = post(alice, attachments=[file_id], client_msg_id="k")
    again = post(alice, attachments=[file_id], client_msg_id="k")
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json["generation"]["id"] == first.json["generation"]["id"]
    assert refused(post(alice, attachments=[other], client_msg_id="k")) == (422, "client_msg_id")


def test_a_file_is_refused_by_its_place(alice: Person, bob: Person) -> None:
    mine, sound = upload(alice), upload(alice, made.wav(), "a.wav")
    assert refused(post(alice, attachments=[mine, "file-none"])) == (422, "attachments[1]")
    assert refused(post(bob, attachments=[mine])) == (422, "attachments[0]")
    assert refused(post(alice, attachments=[mine, mine])) == (422, "attachments")
    assert refused(post(alice, attachments=["file-x"] * 11)) == (422, "attachments")
    assert refused(post(alice, attachments=[mine, sound])) == (422, "attachments[1]")
    assert messages_of(alice) == 0


def messages_of(person: Person) -> int:
    return len(person.get("/api/v1/conversations").json["items"])


def test_a_model_without_images_refuses_them(alice: Person, app: Any) -> None:
    admin = Person(app.test_client(), "root", {"Authorization": f"Bearer {token('root', role='admin')}"})
    spec = {"provider": "offline-fast", "accepts": {"images": False, "files": False}}
    assert admin.put("/api/v1/models/blind", json=spec).status_code in (200, 201)
    image, document = upload(alice), upload(alice, made.pdf(), "a.pdf")
    answer = post(alice, model="blind", attachments=[document, image])
    assert refused(answer) == (422, "attachments[1]")
    assert "no images" in answer.json["detail"]
    assert post(alice, model="blind", attachments=[document]).status_code == 202
    asked = {"model": "blind", "input": [{"role": "user", "content": [{"type": "input_image", "image_url": URL}]}]}
    assert refused(alice.post("/v1/responses", json=asked)) == (400, "input[0].content[0].image_url")


def test_the_files_of_a_request_are_bounded_together(make_app: Callable[..., Any]) -> None:
    person = Person(make_app(max_prompt_file_bytes=1024, max_attachments=3).test_client(), "alice")
    files = [upload(person, made.pdf(bytes([n]) * 600 + b"\n%%EOF"), f"{n}.pdf") for n in (65, 66)]
    answer = post(person, attachments=files)
    assert refused(answer) == (422, "attachments[1]")
    assert "MAX_PROMPT_FILE_BYTES" in answer.json["detail"]
    assert post(person, attachments=[files[0], upload(person)]).status_code == 202


def test_an_edit_keeps_the_files_or_replaces_them(alice: Person) -> None:
    one, two = upload(alice), upload(alice, b"text", "a.txt")
    asked = post(alice, attachments=[one]).json
    edit = f"/api/v1/messages/{asked['message']['message_id']}/edit"

    def edited(**body: Any) -> list[str]:
        answer = alice.post(edit, json={"message": "Again", "on_busy": "interrupt", **body})
        assert answer.status_code == 202, answer.text
        return [file["file_id"] for file in answer.json["message"]["attachments"]]

    assert edited() == [one]
    assert edited(attachments=[two]) == [two]
    assert edited(attachments=[]) == []


def items_of(person: Person, content: list[dict[str, Any]]) -> TestResponse:
    return person.post("/v1/conversations", json={"items": [{"role": "user", "content": content}]})


def test_data_urls_are_taken_out_at_the_door(alice: Person, resources: Resources) -> None:
    content = [
        {"type": "input_text", "text": "Compare"},
        {"type": "input_image", "image_url": URL, "detail": "low"},
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "input_file", "file_data": TEXT_URL, "filename": "a.txt"},
        {"type": "file", "file": {"file_data": TEXT_URL, "filename": "a.txt"}},
        {"type": "input_image", "file_id": upload(alice)},
    ]
    made_of = items_of(alice, content)
    assert made_of.status_code == 200, made_of.text
    path = f"/v1/conversations/{made_of.json['id']}/items"
    [item] = alice.get(path).json["data"]
    [_, first, second, third, fourth, fifth] = item["content"]
    assert first == {"type": "input_image", "file_id": first["file_id"], "filename": "image.png", "detail": "low"}
    # Equal bytes under one name are one file: a client that sends its whole history again adds nothing.
    assert (first["file_id"], third["file_id"]) == (second["file_id"], fourth["file_id"])
    assert fifth["file_id"] not in (first["file_id"], third["file_id"])
    shown = alice.get(f"/api/v1/files/{first['file_id']}/content")
    assert shown.data == PNG
    with resources.database.system() as tx:
        assert not fetch(tx, "SELECT 1 FROM messages WHERE CAST(items AS text) LIKE '%base64%'")
    # An item that is taken out leaves the facts of the files of the others.
    two = [{"role": "user", "content": "x"}, {"role": "user", "content": content[:2]}]
    [text, _] = alice.post(path, json={"items": two}).json["data"]
    assert alice.delete(f"{path}/{text['id']}").status_code == 200
    left = messages(alice, str(UUID(made_of.json["id"].removeprefix("conv_"))))
    assert [file["media_type"] for message in left for file in message["attachments"]].count("image/png") == 4


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"type": "input_image", "image_url": "https://example.com/a.png"}, "image_url"),
        ({"type": "input_image", "image_url": "data:image/png;base64,AAAA"}, "image_url"),
        ({"type": "input_image", "image_url": TEXT_URL}, "image_url"),
        ({"type": "input_image", "image_url": 7}, "image_url"),
        ({"type": "input_image"}, "file_id"),
        ({"type": "input_image", "file_id": "file-none"}, "file_id"),
        ({"type": "input_image", "image_url": URL, "detail": "huge"}, "detail"),
        ({"type": "image_url", "image_url": {"url": "ftp://x"}}, "image_url.url"),
        ({"type": "input_file", "file_url": "https://example.com/a.pdf"}, "file_url"),
        ({"type": "file", "file": {"file_data": "???"}}, "file.file_data"),
        ({"type": "file", "file": "x"}, "file"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "type"),
    ],
)
def test_a_part_that_is_no_file_is_refused_by_its_place(alice: Person, part: dict[str, Any], place: str) -> None:
    assert refused(items_of(alice, [part])) == (400, f"items[0].content[0].{place}")


def test_only_files_may_make_a_body_large(make_app: Callable[..., Any]) -> None:
    person = Person(make_app(max_prompt_chars=2000, max_inline_body_bytes=40_000).test_client(), "alice")
    large = f"data:text/plain;base64,{b64encode(b'x' * 9000).decode()}"
    part = {"type": "input_file", "file_data": large, "filename": "a.txt"}
    assert items_of(person, [part]).status_code == 200
    assert items_of(person, [{"type": "input_text", "text": large}]).status_code == 400
    assert items_of(person, [part] * 5).status_code == 413


def test_the_ai_sdk_sends_files_in_data_urls_or_by_our_address(alice: Person) -> None:
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "file", "mediaType": "image/png", "url": URL, "filename": "cat.png"},
    ]
    body = {"id": "chat", "messages": [{"id": "m1", "role": "user", "parts": parts}]}
    # The answer's stream does not end without a worker: the request is checked up to there.
    files = bodies.found_files(bodies.UiChatBody.model_validate(body))
    assert [(file.place, file.filename) for file in files] == [("messages[0].parts[1].url", "cat.png")]
    body["messages"][0]["parts"][1]["url"] = "https://example.com/cat.png"  # type: ignore[index]
    assert refused(alice.post("/api/chat", json=body)) == (422, "messages[0].parts[1].url")
    own = f"/api/v1/files/{upload(alice)}/content"
    body["messages"][0]["parts"][1]["url"] = own  # type: ignore[index]
    assert bodies.found_files(bodies.UiChatBody.model_validate(body))[0].file_id == own.split("/")[4]


def test_an_exported_conversation_carries_its_files(alice: Person, bob: Person) -> None:
    gone = upload(alice, b"gone", "gone.txt")
    asked = post(alice, attachments=[upload(alice), gone]).json
    alice.delete(f"/api/v1/files/{gone}")
    exported = alice.get(f"/api/v1/conversations/{asked['conversation']['id']}/export").data
    assert json.loads(exported)["messages"][0]["items"][0]["content"][1:] == [
        {"type": "input_image", "filename": "cat.png", "detail": "auto", "image_url": URL},
        {"type": "input_file", "filename": "gone.txt"},
    ]
    imported = bob.post("/api/v1/conversations/import", data=exported, content_type="application/json")
    assert imported.status_code == 201, imported.text
    [image, lost] = messages(bob, imported.json["id"])[0]["attachments"]
    assert bob.get(f"/api/v1/files/{image['file_id']}/content").data == PNG
    assert (lost["file_id"], lost["filename"]) == (None, "gone.txt")
    again = bob.get(f"/api/v1/conversations/{imported.json['id']}/export").data
    first, second = json.loads(exported), json.loads(again)
    assert first["messages"][0] == second["messages"][0]
    read = bob.get(f"/api/v1/conversations/{imported.json['id']}/export?format=md").text
    assert "> File: cat.png" in read


def test_a_file_without_bytes_does_not_end_an_export(alice: Person, resources: Resources) -> None:
    lost, kept = upload(alice, b"lost", "lost.txt"), upload(alice)
    asked = post(alice, attachments=[lost, kept]).json
    found = resources.files.find(alice.get("/api/v1/me").json["id"], lost)
    resources.settings.file_storage.delete(key_of(found.user_id, found.sha256))
    document = json.loads(alice.get(f"/api/v1/conversations/{asked['conversation']['id']}/export").data)
    assert document["messages"][0]["items"][0]["content"][1:] == [
        {"type": "input_file", "filename": "lost.txt"},
        {"type": "input_image", "filename": "cat.png", "detail": "auto", "image_url": URL},
    ]


def test_an_export_is_sent_in_small_pieces_and_repeats_files_within_bounds(make_app: Callable[..., Any]) -> None:
    """A message may name a file many times on ``/v1``; each is a part of its own."""
    size = 700_001
    person = Person(make_app(file_bytes_per_user=2 * size).test_client(), "alice")
    part = {"type": "input_file", "file_id": upload(person, b"x" * size, "a.txt")}
    made_of = items_of(person, [{"type": "input_text", "text": "Look"}, *[part] * 4])
    assert made_of.status_code == 200, made_of.text
    conversation = UUID(made_of.json["id"].removeprefix("conv_"))
    exported = person.get(f"/api/v1/conversations/{conversation}/export")
    pieces = list(exported.iter_encoded())
    assert max(map(len, pieces)) < size // 4
    [item] = json.loads(b"".join(pieces))["messages"][0]["items"]
    url = f"data:text/plain;base64,{b64encode(b'x' * size).decode()}"
    whole = {"type": "input_file", "filename": "a.txt", "file_data": url}
    # Once, and two repeats.
    assert item["content"][1:] == [whole] * 3 + [{"type": "input_file", "filename": "a.txt"}]


def test_another_users_file_is_not_imported(alice: Person, bob: Person) -> None:
    asked = post(alice, attachments=[upload(alice)]).json
    document = json.loads(alice.get(f"/api/v1/conversations/{asked['conversation']['id']}/export").data)
    [part] = [part for part in document["messages"][0]["items"][0]["content"] if part["type"] == "input_image"]
    del part["image_url"]
    part["file_id"] = asked["message"]["attachments"][0]["file_id"]
    imported = bob.post("/api/v1/conversations/import", json=document)
    assert imported.status_code == 201, imported.text
    assert messages(bob, imported.json["id"])[0]["attachments"][0]["file_id"] is None
