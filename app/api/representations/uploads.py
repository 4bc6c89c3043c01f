"""Uploads in parts, as OpenAI has them, with the number of bytes that were appended."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.api.representations.fields import Json
from app.api.representations.files import FileObject
from app.domain.file_id import Purpose
from app.domain.upload_id import UploadStatus
from app.services.uploads import Ended
from app.store.uploads import Part, Upload


class UploadObject(BaseModel):
    """An upload in parts."""

    id: str = Field(examples=["upload_0193f5c1d2a47b3e8c9d0e1f2a3b4c5d"])
    object: Literal["upload"]
    bytes: int = Field(description="Of the whole file")
    offset: int = Field(description="Bytes that were appended: what follows them is to be sent next")
    created_at: int = Field(description="Seconds since 1970")
    expires_at: int
    filename: str
    purpose: Purpose | None = Field(description="null: that of the kind of file")
    status: UploadStatus
    file: FileObject | None = Field(description="Of a completed upload, until the file is deleted")

    @staticmethod
    def of(upload: Upload) -> Json:
        """An upload without a file."""
        return UploadObject.ended(Ended(upload))

    @staticmethod
    def ended(ended: Ended) -> Json:
        """An upload with its file."""
        upload = ended.upload
        return {
            "id": upload.id,
            "object": "upload",
            "bytes": upload.bytes,
            "offset": upload.offset,
            "created_at": int(upload.created_at.timestamp()),
            "expires_at": int(upload.expires_at.timestamp()),
            "filename": upload.filename,
            "purpose": upload.purpose,
            "status": upload.status,
            "file": FileObject.of(ended.file) if ended.file else None,
        }


class UploadPart(BaseModel):
    """A part of an upload."""

    id: str = Field(examples=["part_0193f5c1d2a47b3e8c9d0e1f2a3b4c5d"])
    object: Literal["upload.part"]
    created_at: int = Field(description="Seconds since 1970")
    upload_id: str

    @staticmethod
    def of(part: Part) -> Json:
        """A part whose bytes are kept."""
        return {
            "id": part.id,
            "object": "upload.part",
            "created_at": int(part.created_at.timestamp()),
            "upload_id": part.upload_id,
        }
