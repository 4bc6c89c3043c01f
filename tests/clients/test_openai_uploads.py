"""Uploads in parts by OpenAI's Python SDK, unmodified and with strict types, against a real instance."""

from __future__ import annotations

from hashlib import md5
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from tests import made_files as made
from tests.clients.conftest import Site

pytestmark = pytest.mark.slow

TEXT = b"".join(b"line %d of a long text\n" % n for n in range(100_000))


@pytest.fixture
def client(site: Site) -> OpenAI:
    return OpenAI(base_url=site.base_url, api_key=site.key("uploader"), _strict_response_validation=True)


def content(client: OpenAI, file: str) -> bytes:
    return client.files.content(file).read()


def test_a_file_is_uploaded_in_chunks_from_the_disk_and_from_memory(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_bytes(TEXT)
    kind = {"mime_type": "text/plain", "purpose": "user_data"}
    digest = md5(TEXT).hexdigest()
    from_disk = client.uploads.upload_file_chunked(file=path, part_size=600_000, md5=digest, **kind)  # type: ignore[arg-type]
    in_memory = client.uploads.upload_file_chunked(file=TEXT, filename="long.txt", bytes=len(TEXT), **kind)  # type: ignore[call-overload]
    for upload in (from_disk, in_memory):
        assert (upload.status, upload.filename, upload.bytes) == ("completed", "long.txt", len(TEXT))
        assert content(client, upload.file.id) == TEXT
        assert client.files.retrieve(upload.file.id) == upload.file


def test_parts_are_put_together_in_the_order_of_the_completion(client: OpenAI) -> None:
    data = made.png(40, 30)
    upload = client.uploads.create(bytes=len(data), filename="a.png", mime_type="image/png", purpose="vision")
    assert upload.status == "pending"
    assert upload.expires_at - upload.created_at == 3600
    last, first = (client.uploads.parts.create(upload.id, data=some) for some in (data[20:], data[:20]))
    assert first.upload_id == last.upload_id == upload.id
    ended = client.uploads.complete(upload.id, part_ids=[first.id, last.id])
    assert ended.file is not None
    assert ended.file.purpose == "vision"
    assert content(client, ended.file.id) == data


def test_a_cancelled_upload_and_wrong_parts_are_refused_at_once(client: OpenAI) -> None:
    upload = client.uploads.create(bytes=6, filename="a.txt", mime_type="text/plain", purpose="user_data")
    part = client.uploads.parts.create(upload.id, data=b"one")
    with pytest.raises(openai.BadRequestError) as refused:
        client.uploads.complete(upload.id, part_ids=[part.id])
    assert refused.value.param == "part_ids"
    assert client.uploads.cancel(upload.id).status == "cancelled"
    with pytest.raises(openai.ConflictError):
        client.uploads.parts.create(upload.id, data=b"two")
    with pytest.raises(openai.NotFoundError):
        client.uploads.cancel("upload_unknown")
