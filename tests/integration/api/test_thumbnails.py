"""Thumbnails over the API: made once, kept beside their image and removed with it, seen by their user alone."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, Semaphore
from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI
from PIL import Image
from werkzeug.test import TestResponse

from app.domain.errors import Overloaded
from app.files.storage import key_of, thumbnail_key_of
from app.files.thumbnails import make
from app.services import thumbnails
from app.services.thumbnails import Thumbnails
from app.store.database import execute
from app.store.files import File
from app.wiring import Resources
from tests import made_files
from tests.stack import until

from .conftest import FILES as FOLDER
from .conftest import Person
from .test_attachments import upload
from .test_files import id_of, sweep  # noqa: F401  # a fixture


def picture(shade: int, side: int = 1000) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side // 2), (shade, 80, 200)).save(out, "PNG")
    return out.getvalue()


def small(person: Person, file_id: str) -> TestResponse:
    return person.get(f"/api/v1/files/{file_id}/content?variant=thumbnail")


def row(resources: Resources, person: Person, file_id: str) -> File:
    return resources.files.find(id_of(person), file_id)


def place(file: File) -> Path:
    """The place of the thumbnail of a file on the disk."""
    return Path(FOLDER.name) / thumbnail_key_of(key_of(file.user_id, file.sha256))


def test_a_thumbnail_is_made_once_and_downloaded(alice: Person, resources: Resources) -> None:
    file_id = upload(alice, picture(1), "Küste im März.png")
    file = row(resources, alice, file_id)
    before = alice.get("/api/v1/files").json
    answer = small(alice, file_id)
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.data)) as image:
        assert (image.format, image.size) == ("WEBP", (512, 256))
    headers = answer.headers
    assert headers["Content-Type"] == "image/webp"
    assert headers["Content-Disposition"].endswith("K%C3%BCste%20im%20M%C3%A4rz.webp")
    assert headers["Content-Length"] == str(len(answer.data))
    assert (headers["X-Content-Type-Options"], "sandbox" in headers["Content-Security-Policy"]) == ("nosniff", True)
    assert place(file).read_bytes() == answer.data
    place(file).write_bytes(b"kept")
    assert small(alice, file_id).data == b"kept"
    assert alice.get("/api/v1/files").json == before
    assert alice.get(f"/api/v1/files/{file_id}/content").data == picture(1)


def test_a_file_without_one_says_why(alice: Person, bob: Person, make_app: Callable[..., Any]) -> None:
    text, image = upload(alice, b"words", "a.txt"), upload(alice, picture(2))
    refused = small(alice, text)
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "variant")
    assert "only images have one" in refused.json["errors"][0]["detail"]
    assert small(bob, image).status_code == 404
    assert small(alice, f"file-{uuid4().hex}").status_code == 404
    assert alice.get(f"/api/v1/files/{image}/content?variant=poster").status_code == 422
    without = Person(make_app(max_thumbnails_at_once=0).test_client(), alice.subject)
    assert "MAX_THUMBNAILS_AT_ONCE=0" in small(without, upload(without, picture(2))).text


def test_an_image_that_cannot_be_decoded_is_not_tried_again(alice: Person, resources: Resources) -> None:
    file = row(resources, alice, upload(alice, made_files.png(500, 500)))
    tried: list[str] = []

    def counted(source: Iterable[bytes], media_type: str) -> bytes:
        tried.append(media_type)
        return make(source, media_type)

    made = Thumbnails(resources.database, resources.settings.file_storage, 1, counted)
    for _ in range(2):
        with pytest.raises(thumbnails.NoThumbnail, match="damaged"):
            made.read(file)
    assert tried == ["image/png"]


def test_a_thumbnail_goes_with_its_image(alice: Person, resources: Resources, sweep: Any) -> None:  # noqa: F811
    first, second = upload(alice, picture(4), "a.png"), upload(alice, picture(4), "b.png")
    file = row(resources, alice, first)
    assert small(alice, first).status_code == 200
    assert alice.delete(f"/api/v1/files/{first}").status_code == 204
    assert small(alice, first).status_code == 404
    sweep()
    assert place(file).exists(), "another file has the image"
    assert alice.delete(f"/api/v1/files/{second}").status_code == 204
    sweep()
    assert not place(file).exists()


def test_an_erasure_removes_thumbnails_and_a_pass_over_the_storage_those_left_over(
    app: OpenAPI,
    resources: Resources,
    sweep: Any,  # noqa: F811
) -> None:
    person = Person(app.test_client(), f"small-{uuid4().hex[:8]}")
    file = row(resources, person, upload(person, picture(5)))
    assert small(person, file.id).status_code == 200
    user = id_of(person)
    with resources.database.system() as tx:
        execute(tx, "DELETE FROM files WHERE user_id = :id", id=user)
    sweep()
    assert not place(file).parent.exists()
    # A thumbnail that was written behind the removal of its image.
    storage = resources.settings.file_storage
    storage.put(thumbnail_key_of(key_of(user, file.sha256)), [b"late"])
    sweep()
    assert place(file).exists(), "it may be new"
    os.utime(place(file), (1, 1))
    sweep()
    assert not place(file).exists()


def test_a_thumbnail_of_a_file_that_goes_meanwhile_is_not_kept(
    alice: Person,
    resources: Resources,
    sweep: Any,  # noqa: F811
) -> None:
    file = row(resources, alice, upload(alice, picture(6)))

    def late(source: Iterable[bytes], media_type: str) -> bytes:
        made = make(source, media_type)
        assert alice.delete(f"/api/v1/files/{file.id}").status_code == 204
        sweep()
        return made

    made = Thumbnails(resources.database, resources.settings.file_storage, 1, late)
    assert made.read(file).startswith(b"RIFF")
    assert not place(file).exists()


def test_thumbnails_wait_for_their_turn_and_no_thread_for_long(
    alice: Person, bob: Person, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "THUMBNAIL_WAIT_SECONDS", 0.3)
    monkeypatch.setattr(thumbnails, "THUMBNAILS_WAITING", 1)
    shades = ((alice, 7), (bob, 8), (alice, 9))
    files = [row(resources, person, upload(person, picture(shade), f"{shade}.png")) for person, shade in shades]
    begun, go_on = Event(), Event()

    def held(source: Iterable[bytes], media_type: str) -> bytes:
        begun.set()
        assert go_on.wait(60)
        return make(source, media_type)

    made = Thumbnails(resources.database, resources.settings.file_storage, 1, held)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(made.read, files[0])
        assert begun.wait(60)
        waiting = pool.submit(made.read, files[1])
        with pytest.raises(Overloaded, match="MAX_THUMBNAILS_AT_ONCE"):
            waiting.result(60)
        go_on.set()
        assert first.result(60).startswith(b"RIFF")
    assert made.read(files[2]).startswith(b"RIFF"), "the turn was given back"


def test_one_user_leaves_turns_and_places_to_others(
    alice: Person, bob: Person, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user has one turn at a time, and half of the places; what has no thumbnail needs neither."""
    monkeypatch.setattr(thumbnails, "THUMBNAIL_WAIT_SECONDS", 60.0)
    shades = range(10, 10 + thumbnails.THUMBNAILS_WAITING + 2)
    files = [row(resources, alice, upload(alice, picture(shade), f"{shade}.png")) for shade in shades]
    text, other = row(resources, alice, upload(alice, b"words", "a.txt")), row(resources, bob, upload(bob, picture(9)))
    begun: list[bytes] = []
    entered, go_on = Semaphore(0), Event()

    def held(source: Iterable[bytes], media_type: str) -> bytes:
        data = b"".join(source)
        begun.append(data)
        entered.release()
        assert data == picture(9) or go_on.wait(60)
        return make([data], media_type)

    made = Thumbnails(resources.database, resources.settings.file_storage, 2, held)
    with ThreadPoolExecutor(len(files)) as pool:
        try:
            all_but_one = [pool.submit(made.read, file) for file in files[:-1]]
            assert entered.acquire(timeout=60)
            made_for_bob = made.read(other)
            assert (len(begun), begun[1]) == (2, picture(9)), "one of alice's waits for the other"
            until(lambda: made._turns._places._taken[files[0].user_id] == len(all_but_one))
            with pytest.raises(Overloaded, match=r"5 of your thumbnails .*\(MAX_THUMBNAILS_AT_ONCE\)"):
                made.read(files[-1])
            with pytest.raises(thumbnails.NoThumbnail, match="only images"):
                made.read(text)
            large = replace(files[-1], width=60_000, height=60_000)
            with pytest.raises(thumbnails.NoThumbnail, match="too large"):
                made.read(large)
        finally:
            go_on.set()
        assert all(one.result(60).startswith(b"RIFF") for one in all_but_one)
    assert made_for_bob.startswith(b"RIFF")
    assert made.read(files[-1]).startswith(b"RIFF"), "the places were given back"
