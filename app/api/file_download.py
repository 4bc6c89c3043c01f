"""The bytes of a file as a response. No browser opens it as a page: it is an attachment of one fixed type."""

from __future__ import annotations

from pathlib import PurePath
from urllib.parse import quote

from flask import Response

from app.api.web_process import web
from app.files import thumbnails
from app.store.files import File

DOWNLOAD_HEADERS = ("Content-Disposition", "Content-Length", "Content-Security-Policy", "X-Content-Type-Options")
_GUARDS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def download(file: File) -> Response:
    """The whole file."""
    pieces = web().resources.files.open(file)
    headers = {
        "Content-Disposition": f"attachment; {_name(file.filename)}",
        "Content-Length": str(file.bytes),
        **_GUARDS,
    }
    return Response(pieces, content_type=content_type(file.media_type), headers=headers)


def download_thumbnail(file: File) -> Response:
    """The thumbnail of an image. Raises NoThumbnail, Overloaded, StorageDown."""
    data = web().resources.files.thumbnail(file)
    name = f"{PurePath(file.filename).stem or 'thumbnail'}.webp"
    headers = {"Content-Disposition": f"attachment; {_name(name)}", **_GUARDS}
    return Response(data, content_type=thumbnails.MEDIA_TYPE, headers=headers)


def content_type(media_type: str) -> str:
    """The value of the header Content-Type."""
    return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type


def _name(filename: str) -> str:
    """The name twice (RFC 6266): in ASCII for old clients, and whole."""
    plain = "".join(one if one.isascii() and one.isprintable() and one not in '"\\%' else "_" for one in filename)
    return f"filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
