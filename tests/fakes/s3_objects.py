"""Objects and uploads of the fake of S3, and the forms in which its responses show them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from xml.sax.saxutils import escape

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Object:
    """An object that is complete."""

    data: bytes
    etag: str
    at: datetime


@dataclass(slots=True)
class Upload:
    """An upload in parts that has not ended."""

    key: str
    parts: dict[int, bytes] = field(default_factory=dict)


def object_of(data: bytes, etag: str) -> Object:
    return Object(data, f'"{etag}"', datetime.now(UTC))


def headers_of(found: Object, with_etag: bool) -> dict[str, str]:
    at = format_datetime(found.at, usegmt=True)
    shown = {"Last-Modified": at, "Accept-Ranges": "bytes"}
    return {**shown, "ETag": found.etag} if with_etag else shown


def listed(key: str, found: Object) -> str:
    at = found.at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    about = f"<LastModified>{at}</LastModified><ETag>{escape(found.etag)}</ETag><Size>{len(found.data)}</Size>"
    return f"<Contents><Key>{escape(key)}</Key>{about}</Contents>"


def error_body(code: str, message: str) -> str:
    return f"<Error><Code>{code}</Code><Message>{escape(message)}</Message><RequestId>1</RequestId></Error>"


def xml(body: str, status: int = 200) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'
    return web.Response(status=status, text=text, content_type="application/xml")
