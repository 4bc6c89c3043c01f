"""Requests of uploads in parts that both surfaces have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from app.api.bodies import FILE_FORM
from app.api.form_body import FormBody, FormFile
from app.api.request_parsing import Path, Text
from app.api.web_process import web
from app.services.uploads import Ended

Bytes = Annotated[int, Field(ge=1, description="Of the whole file: at most MAX_FILE_BYTES")]
MediaType = Annotated[Text, Field(max_length=255)]
Md5 = Annotated[str, Field(pattern="^[0-9A-Fa-f]{32}$", description="Of the whole file, in hexadecimal")]


class UploadPath(Path):
    """The id of an upload: upload_…"""

    upload_id: str = Field(max_length=100)


class PartForm(FormBody):
    """A part of a file."""

    data: FormFile = Field(description="At most MAX_UPLOAD_PART_BYTES, with a name, which has no meaning")


def completed(user_id: str, upload_id: str, part_ids: Sequence[str] | None, md5: str | None) -> Ended:
    """Complete an upload. Files are put together as many at a time as large uploads are read.

    A small file takes a place, too: many parts make its completion as long as that of a large one. Each completion
    holds a connection of the pool, so a part of the pool bounds them as well.
    """
    with web().place_for_body(FILE_FORM, None), web().completions.of(user_id):
        return web().resources.uploads.complete(user_id, upload_id, part_ids, md5)
