"""Bounds of request bodies, for the routes and for the web server, which reads a body before Flask does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask
from werkzeug.exceptions import HTTPException

from app.config import Settings
from app.connections.bounds import ConnectionBounds

# Makes the model of a body from its bytes. Raises MalformedInput, InvalidFields.
Reader = Callable[[bytes, Settings], object]

# Bytes of a form beside those of its file.
FORM_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class BodyKind:
    """A kind of bodies: the settings that bound it, and its reader; without one a body is parsed and validated whole.

    ``at_once`` is the setting that bounds how many of the large ones a process reads at a time, with their ``name``.
    ``is_form``: the body is a form with a file of up to ``bytes_setting``, which is read in pieces.
    """

    bytes_setting: str
    values_setting: str
    reader: Reader | None = None
    at_once: str | None = None
    name: str = ""
    is_form: bool = False

    def most_bytes(self, settings: Settings) -> int:
        """Bytes that one body may have."""
        return int(getattr(settings, self.bytes_setting)) + (FORM_BYTES if self.is_form else 0)

    def most_values(self, settings: Settings) -> int:
        """JSON values that one body may have."""
        return int(getattr(settings, self.values_setting))


ORDINARY = BodyKind("max_body_bytes", "max_json_values")
FILE_FORM = BodyKind("max_file_bytes", "max_json_values", at_once="max_uploads_at_once", name="uploads", is_form=True)
# A part of an upload.
PART_FORM = BodyKind(
    "max_upload_part_bytes", "max_json_values", at_once="max_uploads_at_once", name="uploads", is_form=True
)
# Of requests that may have files in data URLs.
WITH_FILES = BodyKind(
    "max_inline_body_bytes", "max_json_values", at_once="max_inline_bodies_at_once", name="requests with files"
)


def bounds(app: Flask, settings: Settings) -> ConnectionBounds:
    """The bounds of one deployment's connections. All routes have to be registered before."""

    def largest_body(method: str, path: str) -> int:
        """Bytes that the route of this request allows."""
        try:
            endpoint, _ = app.url_map.bind("").match(path, method)
        except HTTPException:
            return settings.max_body_bytes
        kind: BodyKind = getattr(app.view_functions[endpoint], "body_kind", ORDINARY)
        return kind.most_bytes(settings)

    return ConnectionBounds(
        request_header_seconds=settings.request_header_seconds,
        request_body_seconds=settings.request_body_seconds,
        response_stall_seconds=settings.response_stall_seconds,
        max_unsent_bytes=settings.max_unsent_bytes,
        max_header_bytes=settings.max_header_bytes,
        max_body_bytes=settings.max_body_bytes,
        largest_body=largest_body,
    )
