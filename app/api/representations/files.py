"""Files, as OpenAI has them, with the type that was found and the size of images."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.api.representations.fields import Json
from app.domain.file_id import Purpose
from app.store.files import File


class FileObject(BaseModel):
    """A file."""

    id: str = Field(examples=["file-0193f5c1d2a47b3e8c9d0e1f2a3b4c5d"])
    object: Literal["file"]
    bytes: int
    created_at: int = Field(description="Seconds since 1970")
    expires_at: int | None
    filename: str
    purpose: Purpose
    status: Literal["processed"]
    media_type: str = Field(description="Found by looking at the bytes")
    width: int | None = Field(description="Of an image, in pixels; null for other files")
    height: int | None

    @staticmethod
    def of(found: File) -> Json:
        """A file that is ready."""
        return {
            "id": found.id,
            "object": "file",
            "bytes": found.bytes,
            "created_at": int(found.created_at.timestamp()),
            "expires_at": int(found.expires_at.timestamp()) if found.expires_at else None,
            "filename": found.filename,
            "purpose": found.purpose,
            "status": "processed",
            "media_type": found.media_type,
            "width": found.width,
            "height": found.height,
        }


class FilePage(BaseModel):
    """Files, newest first."""

    items: list[FileObject]
    next_cursor: str | None

    @staticmethod
    def of(found: list[File], limit: int) -> Json:
        """A page of up to ``limit`` of the files; ``found`` has one more where another page follows."""
        shown = found[:limit]
        return {
            "items": [FileObject.of(one) for one in shown],
            "next_cursor": shown[-1].id if len(found) > limit else None,
        }
