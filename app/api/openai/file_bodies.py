"""Requests and replies of files, in OpenAI's form."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from app.api.form_body import FormBody, FormFile
from app.api.representations.files import FileObject
from app.api.request_parsing import Path, Query, Text
from app.domain.file_id import Purpose
from app.services.files import NewFile
from app.store.files import File

# Purposes that a client may choose; the others are those of files that the service makes.
OfClients = Literal["user_data", "vision", "batch"]


class NewFileForm(FormBody):
    """A file with its purpose. It does not expire, unless the form says so; a batch's file after 30 days."""

    file: FormFile = Field(description="At most MAX_FILE_BYTES, with a name")
    purpose: OfClients
    anchor: Literal["created_at"] | None = Field(None, alias="expires_after[anchor]")
    seconds: int | None = Field(None, alias="expires_after[seconds]", ge=3600, le=2_592_000)

    @model_validator(mode="after")
    def _is_whole(self) -> NewFileForm:
        if (self.anchor is None) != (self.seconds is None):
            raise ValueError("expires_after needs anchor and seconds")
        return self

    def new(self) -> NewFile:
        """The file as the service takes it."""
        return NewFile(self.file.filename, self.purpose, self.file.declared, self.seconds)


class FilePath(Path):
    """The id of a file: file-…"""

    file_id: str = Field(max_length=100)


class OpenAIFilesQuery(Query):
    """The filter, the order and the size of a page."""

    purpose: Purpose | None = None
    after: Text | None = Field(None, max_length=100, description="The id of the last file of the page before")
    limit: int = Field(10_000, ge=1, le=10_000)
    order: Literal["asc", "desc"] = "desc"


class OpenAIFiles(BaseModel):
    """A page of files."""

    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @staticmethod
    def of(found: list[File], limit: int) -> dict[str, Any]:
        """A page of up to ``limit`` of the files; ``found`` has one more where another page follows."""
        shown = [FileObject.of(one) for one in found[:limit]]
        first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
        return {"object": "list", "data": shown, "first_id": first, "last_id": last, "has_more": len(found) > limit}


ALL: tuple[type[BaseModel], ...] = (OpenAIFiles,)
