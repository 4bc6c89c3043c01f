"""A fake of S3: one bucket over real HTTP, with the operations that the service's storage uses, strict as the real one.

It refuses wrong signatures (``tests/fakes/sigv4.py``), small and foreign parts, and bodies that differ from their
digests. It imports no code of the service. Names of operations and errors are those of AWS's reference of S3.

In a test::

    with S3() as s3:
        storage = storage_of(s3.url("production"), s3.credentials)
        s3.fail("GetObject", "slow_down", times=2)      # the next two; without ``times`` all
        s3.fail("DeleteObjects", "late")                 # executed by s3.release(), whatever the client does meanwhile
        s3.objects, s3.uploads, s3.asked                 # by key, by upload id, names of operations in their order
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal
from urllib.parse import quote_plus, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from aiohttp import web

from tests.fakes.s3_objects import Object, Upload, error_body, headers_of, listed, object_of, xml
from tests.fakes.serving import ThreadedServer
from tests.fakes.sigv4 import Key, Refused, Signed, verify

Kind = Literal["slow_down", "error_inside", "drop", "drop_after", "cut", "silent", "slow", "late"]
# Bytes that each part but the last has at least, and those of a key at most; keys of a page at most.
PART_BYTES = 5_242_880
KEY_BYTES = 1024
PAGE_KEYS = 1000
# The pace of a slow body.
SLOW_BYTES = 2_097_152
SLOW_SECONDS = 0.4
_MOST_BYTES = 134_217_728
_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@dataclass
class S3(ThreadedServer):
    """The server. ``page_keys``: keys of a page of the list at most. Without ``etags`` its objects have none."""

    bucket: str = "files"
    key: Key = field(default_factory=lambda: Key("AKIDTESTS", "a secret/with+signs=", "eu-central-1"))
    page_keys: int = PAGE_KEYS
    etags: bool = True
    port: int = 0

    def __post_init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.uploads: dict[str, Upload] = {}
        self.asked: list[str] = []
        self._troubles: dict[str, Iterator[Kind]] = {}
        self._late = asyncio.Event()
        self._tasks: set[asyncio.Task[web.StreamResponse]] = set()
        self._numbers = count(1)

    @property
    def credentials(self) -> dict[str, str]:
        """The key as obstore's configuration."""
        return {"access_key_id": self.key.id, "secret_access_key": self.key.secret}

    def url(self, prefix: str = "", region: str | None = None) -> str:
        """FILES_URL of the bucket with a prefix."""
        return f"s3://{self.bucket}/{prefix}?endpoint={quote_plus(self.base_url)}&region={region or self.key.region}"

    def fail(self, operation: str, kind: Kind, times: int | None = None) -> None:
        """Let the next ``times`` requests of an operation fail; None: all."""
        self._troubles[operation] = iter([kind] * times) if times is not None else iter(lambda: kind, None)

    def heal(self) -> None:
        """Let nothing fail any more."""
        self._troubles.clear()

    def release(self) -> None:
        """Execute the late operations, and from now on each late one at once."""
        self._loop.call_soon_threadsafe(self._late.set)

    # --- the service --------------------------------------------------------------------------------------------

    def service(self) -> S3:
        return self

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        operation, body = _operation_of(request), await request.read()
        self.asked.append(operation)
        kind = next(self._troubles.get(operation, iter(())), None)
        if kind == "late":
            task = asyncio.ensure_future(self._execute_late(request, operation, body))
            self._tasks.add(task)
            return await asyncio.shield(task)
        if kind == "drop":
            return _dropped(request)
        if kind == "silent" and operation != "GetObject":
            await asyncio.Event().wait()
        with_error = operation in ("CompleteMultipartUpload", "DeleteObjects") and kind == "error_inside"
        answer = self._refused(operation, body) if with_error else self._answer(request, operation, body, kind)
        if kind == "drop_after":
            return _dropped(request)
        return await _sent_in_part(request, answer, kind) if kind in ("cut", "silent", "slow") else answer

    async def _execute_late(self, request: web.Request, operation: str, body: bytes) -> web.Response:
        await self._late.wait()
        return self._answer(request, operation, body, None)

    def _answer(self, request: web.Request, operation: str, body: bytes, kind: Kind | None) -> web.Response:
        try:
            headers = {name.lower(): value for name, value in request.headers.items()}
            verify(Signed(request.method, request.raw_path, headers, body), self.key)
            if kind == "slow_down":
                raise Refused(503, "SlowDown", "Please reduce your request rate.")
            bucket, _, key = unquote(request.raw_path.partition("?")[0]).lstrip("/").partition("/")
            if bucket != self.bucket:
                raise Refused(404, "NoSuchBucket")
            if len(key.encode()) > KEY_BYTES:
                raise Refused(400, "KeyTooLongError")
            answer: web.Response = getattr(self, f"_{operation}", self._unknown)(request, key, body)
        except Refused as refused:
            return xml(error_body(refused.code, refused.message), refused.status)
        return answer

    def _unknown(self, _request: web.Request, _key: str, _body: bytes) -> web.Response:
        raise Refused(501, "NotImplemented")

    def _refused(self, operation: str, body: bytes) -> web.Response:
        """An error behind the status 200: of the whole completion, or of each key of a removal."""
        if operation == "CompleteMultipartUpload":
            return xml(error_body("InternalError", "We encountered an internal error. Please try again."))
        keys = (key.text or "" for key in ElementTree.fromstring(body).iter(f"{_NAMESPACE}Key"))
        errors = (f"<Error><Key>{escape(key)}</Key><Code>InternalError</Code><Message/></Error>" for key in keys)
        return xml(f"<DeleteResult>{''.join(errors)}</DeleteResult>")

    # --- operations ---------------------------------------------------------------------------------------------

    def _PutObject(self, request: web.Request, key: str, body: bytes) -> web.Response:
        if request.headers.get("If-None-Match") == "*" and key in self.objects:
            raise Refused(412, "PreconditionFailed")
        self.objects[key] = made = object_of(body, hashlib.md5(body).hexdigest())
        return web.Response(headers={"ETag": made.etag})

    def _GetObject(self, request: web.Request, key: str, _body: bytes) -> web.Response:
        found = self._find(key)
        if request.headers.get("If-Match", found.etag) != found.etag:
            raise Refused(412, "PreconditionFailed")
        headers, size = headers_of(found, self.etags), len(found.data)
        if not (wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))):
            return web.Response(body=found.data, headers=headers)
        first, last = int(wanted[1]), min(int(wanted[2] or size), size - 1)
        if first > last:
            raise Refused(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return web.Response(status=206, body=found.data[first : last + 1], headers=headers)

    def _HeadObject(self, _request: web.Request, key: str, _body: bytes) -> web.Response:
        found = self._find(key)
        return web.Response(headers={**headers_of(found, self.etags), "Content-Length": str(len(found.data))})

    def _DeleteObject(self, _request: web.Request, key: str, _body: bytes) -> web.Response:
        self.objects.pop(key, None)
        return web.Response(status=204)

    def _DeleteObjects(self, request: web.Request, _key: str, body: bytes) -> web.Response:
        if request.headers.get("Content-MD5") != b64encode(hashlib.md5(body).digest()).decode():
            raise Refused(400, "BadDigest")
        keys = [key.text or "" for key in ElementTree.fromstring(body).iter(f"{_NAMESPACE}Key")]
        for key in keys:
            self.objects.pop(key, None)
        removed = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return xml(f"<DeleteResult>{removed}</DeleteResult>")

    def _ListObjectsV2(self, request: web.Request, _key: str, _body: bytes) -> web.Response:
        query = request.query
        behind = query.get("continuation-token") or query.get("start-after", "")
        names = sorted(self.objects, key=str.encode)
        keys = [key for key in names if key.startswith(query.get("prefix", "")) and key > behind]
        shown = keys[: min(int(query.get("max-keys", PAGE_KEYS)), self.page_keys)]
        more = len(keys) > len(shown)
        token = f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>" if more else ""
        contents = "".join(listed(key, self.objects[key]) for key in shown)
        is_cut = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        return xml(f"<ListBucketResult><Name>{self.bucket}</Name>{is_cut}{token}{contents}</ListBucketResult>")

    def _CreateMultipartUpload(self, _request: web.Request, key: str, _body: bytes) -> web.Response:
        name = f"upload/{next(self._numbers)}+="
        self.uploads[name] = Upload(key)
        return xml(
            f"<InitiateMultipartUploadResult><Bucket>{self.bucket}</Bucket><Key>{escape(key)}</Key>"
            f"<UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
        )

    def _UploadPart(self, request: web.Request, key: str, body: bytes) -> web.Response:
        self._upload(request, key).parts[int(request.query["partNumber"])] = body
        return web.Response(headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def _CompleteMultipartUpload(self, request: web.Request, key: str, body: bytes) -> web.Response:
        parts = self._upload(request, key).parts
        named = [
            (int(part.findtext("PartNumber", "0")), part.findtext("ETag", "").strip('"'))
            for part in ElementTree.fromstring(body.replace(b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', b""))
        ]
        if not named or named != sorted(named):
            raise Refused(400, "InvalidPartOrder")
        if any(number not in parts or hashlib.md5(parts[number]).hexdigest() != etag for number, etag in named):
            raise Refused(400, "InvalidPart")
        if any(len(parts[number]) < PART_BYTES for number, _ in named[:-1]):
            raise Refused(400, "EntityTooSmall")
        data = b"".join(parts[number] for number, _ in named)
        self.objects[key] = made = object_of(data, f"{hashlib.md5(data).hexdigest()}-{len(named)}")
        del self.uploads[request.query["uploadId"]]
        return xml(f"<CompleteMultipartUploadResult><ETag>{escape(made.etag)}</ETag></CompleteMultipartUploadResult>")

    def _AbortMultipartUpload(self, request: web.Request, key: str, _body: bytes) -> web.Response:
        self._upload(request, key)
        del self.uploads[request.query["uploadId"]]
        return web.Response(status=204)

    def _find(self, key: str) -> Object:
        if key not in self.objects:
            raise Refused(404, "NoSuchKey")
        return self.objects[key]

    def _upload(self, request: web.Request, key: str) -> Upload:
        found = self.uploads.get(request.query["uploadId"])
        if found is None or found.key != key:
            raise Refused(404, "NoSuchUpload")
        return found


def _operation_of(request: web.Request) -> str:
    """The operation's name in AWS's reference."""
    query, has_key = request.query, bool(unquote(request.path).strip("/").partition("/")[2])
    if not has_key:
        listing = "ListObjectsV2" if query.get("list-type") == "2" else "Unknown"
        return {"GET": listing, "POST": "DeleteObjects" if "delete" in query else "Unknown"}.get(
            request.method, "Unknown"
        )
    if "uploads" in query and request.method == "POST":
        return "CreateMultipartUpload"
    if "uploadId" in query:
        of_parts = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
        return of_parts.get(request.method, "Unknown")
    of_objects = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
    return of_objects.get(request.method, "Unknown")


def _dropped(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _sent_in_part(request: web.Request, answer: web.Response, kind: Kind) -> web.StreamResponse:
    """Send the head and half of the body; then close the connection, send nothing more, or send the rest slowly."""
    whole = answer.body
    assert isinstance(whole, bytes)
    sent = web.StreamResponse(status=answer.status, headers=answer.headers)
    sent.content_length = len(whole)
    await sent.prepare(request)
    step = SLOW_BYTES if kind == "slow" else max(len(whole) // 2, 1)
    for at in range(0, len(whole), step):
        await sent.write(whole[at : at + step])
        if kind == "silent":
            await asyncio.Event().wait()
        # What was written leaves before the end of the connection.
        await asyncio.sleep(SLOW_SECONDS if kind == "slow" else 0.05)
        if kind == "cut":
            return _dropped(request)
    return sent
