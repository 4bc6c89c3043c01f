"""Files in a bucket, through real processes: uploaded whole and in parts, sent to a provider, and gone with a sweep."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import httpx2 as httpx
import pytest

from app.files.storage import key_of, thumbnail_key_of
from dev.valkey import Valkey
from tests import made_files as made
from tests.factories import insert, owner
from tests.fakes.s3 import PART_BYTES, S3
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, until

PNG = made.png(6, 4)
PREFIX = "chat/production"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with S3() as s3:
        yield s3


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey, upstream: FakeUpstream, s3: S3
) -> Iterator[Stack]:
    with owner(module_database_url) as cursor:
        insert(cursor, "models", {"name": "seeing", "provider": "openai", "upstream_name": "fake"})
    settings = {
        "OPENAI_BASE_URL": upstream.base_url,
        "FILES_URL": s3.url(PREFIX),
        "AWS_ACCESS_KEY_ID": s3.key.id,
        "AWS_SECRET_ACCESS_KEY": s3.key.secret,
    }
    stack = Stack(tmp_path_factory.mktemp("bucket"), module_database_url, valkey.url(), **settings)
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[httpx.Client]:
    stack.worker(5)
    headers = {"Authorization": f"Bearer {stack.token()}"}
    with httpx.Client(base_url=f"{stack.web().url}/api/v1", headers=headers, timeout=60, trust_env=False) as client:
        yield client


def key_in_bucket(stack: Stack, data: bytes) -> str:
    return f"{PREFIX}/{key_of(str(stack.user.id), sha256(data).hexdigest())}"


def taken(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def test_an_image_goes_to_the_provider_and_leaves_the_bucket_with_its_file(
    stack: Stack, client: httpx.Client, s3: S3, upstream: FakeUpstream
) -> None:
    file = taken(client.post("/files", files={"file": ("cat.png", PNG)}), 201)
    key = key_in_bucket(stack, PNG)
    assert s3.objects[key].data == PNG
    assert client.get(f"/files/{file['id']}/content").content == PNG
    assert client.get(f"/files/{file['id']}/content?variant=thumbnail").status_code == 200
    assert set(s3.objects) == {key, thumbnail_key_of(key)}

    message = json.dumps({"fake": {"tokens": 3, "rate": 0}})
    body = {"message": message, "model": "seeing", "attachments": [file["id"]]}
    started = taken(client.post("/generations", json=body), 202)
    assert stack.finished(started["generation"]["id"]).status == "completed"
    [_, shown] = upstream.calls[-1].body["messages"][-1]["content"]
    assert shown == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64encode(PNG).decode()}"}}

    taken(client.delete(f"/files/{file['id']}"), 204)
    until(lambda: not s3.objects, what="an empty bucket")
    assert client.get(f"/files/{file['id']}/content").status_code == 404


def test_an_upload_in_parts_leaves_its_file_alone(stack: Stack, client: httpx.Client, s3: S3) -> None:
    data = b"many words " * 600_000
    upload = taken(client.post("/uploads", json={"filename": "a.txt", "bytes": len(data)}), 201)
    for at in range(0, len(data), PART_BYTES):
        part = data[at : at + PART_BYTES]
        taken(client.patch(f"/uploads/{upload['id']}?offset={at}", files={"data": ("part", part)}))
    file = taken(client.post(f"/uploads/{upload['id']}/complete", json={}))["file"]
    until(lambda: list(s3.objects) == [key_in_bucket(stack, data)], what="the parts' end")
    assert client.get(f"/files/{file['id']}/content").content == data
    taken(client.delete(f"/files/{file['id']}"), 204)
    until(lambda: not s3.objects, what="an empty bucket")


def test_a_bucket_in_trouble_is_a_problem_of_files_alone(client: httpx.Client, s3: S3) -> None:
    file = taken(client.post("/files", files={"file": ("cat.png", PNG)}), 201)
    s3.fail("CreateMultipartUpload", "slow_down")
    s3.fail("GetObject", "slow_down")
    for answer in (
        client.post("/files", files={"file": ("b.txt", b"other words")}),
        client.get(f"/files/{file['id']}/content"),
    ):
        problem = taken(answer, 503)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "storage of files" in problem["detail"]
        assert "Retry-After" in answer.headers
        assert s3.bucket + "/" not in answer.text
        assert s3.base_url not in answer.text
    assert [one["id"] for one in taken(client.get("/files"))["items"]] == [file["id"]]
    s3.heal()
    assert client.get(f"/files/{file['id']}/content").content == PNG


def test_a_removal_that_the_bucket_refuses_comes_with_a_later_sweep(client: httpx.Client, s3: S3) -> None:
    file = taken(client.post("/files", files={"file": ("c.txt", b"words that stay a little")}), 201)
    before = set(s3.objects)
    s3.fail("DeleteObjects", "error_inside", times=3)
    s3.asked.clear()
    taken(client.delete(f"/files/{file['id']}"), 204)
    until(lambda: s3.asked.count("DeleteObjects") >= 3, what="three refused removals")
    until(lambda: len(s3.objects) == len(before) - 1, what="the removal")
