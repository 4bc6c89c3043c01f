"""Routes of files: upload, list, look at, download, delete."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Response
from pydantic import Field

from app.api.auth.caller import Caller
from app.api.bodies import FILE_FORM
from app.api.file_download import DOWNLOAD_HEADERS, download, download_thumbnail
from app.api.form_body import FormBody, FormFile
from app.api.json_response import respond
from app.api.representations.files import FileObject, FilePage
from app.api.request_parsing import Path, Query
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.files import thumbnails
from app.services.files import NewFile
from app.store import files

routes = Routes("files", __name__, "/api/v1", "Files: what messages have attached")

FileId = Annotated[str, Field(max_length=100)]


class FilePath(Path):
    """The id of a file: file-…"""

    file_id: FileId


class UploadForm(FormBody):
    """A file that is to be attached to a message."""

    file: FormFile = Field(description="At most MAX_FILE_BYTES, with a name")


class FilesQuery(Query):
    """The size and the place of a page."""

    limit: int = Field(50, ge=1, le=200)
    cursor: FileId | None = Field(None, description="next_cursor of the page before")


class ContentQuery(Query):
    """The form in which the content of a file is wanted."""

    variant: Literal["thumbnail"] | None = Field(
        None, description="A small image of the first frame, for an image; 422 where there is none"
    )


@routes.route_for(
    "post",
    "/files",
    access="user",
    limit="uploads",
    answers=(Answer(201, "The file", FileObject, headers=("Location",)),),
    refusals=(409,),
    body_kind=FILE_FORM,
)
def upload_file(caller: Caller, form: UploadForm) -> Response:
    """Upload a file for a message. It is removed when no message refers to it any more, or none does within a day."""
    given = form.file
    new = NewFile(given.filename, declared=given.declared, is_attachment=True)
    made = web().resources.files.store_staged(caller.user.id, new, given.staged)
    return respond(FileObject.of(made), 201, {"Location": f"/api/v1/files/{made.id}"})


@routes.route_for(
    "get", "/files", access="user", limit="reads", answers=(Answer(200, "A page, newest first", FilePage),)
)
def list_files(caller: Caller, query: FilesQuery) -> Response:
    """List your files, those of `/v1/files` included."""
    found = web().resources.files.page(caller.user.id, files.FilePage(query.limit + 1, query.cursor))
    return respond(FilePage.of(found, query.limit))


@routes.route_for(
    "get", "/files/<file_id>", access="user", limit="reads", answers=(Answer(200, "The file", FileObject),)
)
def get_file(caller: Caller, path: FilePath) -> Response:
    """One file, without its bytes."""
    return respond(FileObject.of(web().resources.files.find(caller.user.id, path.file_id)))


@routes.route_for(
    "get",
    "/files/<file_id>/content",
    access="user",
    limit="reads",
    answers=(
        Answer(200, "The bytes", None, "application/octet-stream", headers=DOWNLOAD_HEADERS),
        Answer(200, "The thumbnail", None, thumbnails.MEDIA_TYPE, headers=DOWNLOAD_HEADERS),
    ),
)
def get_file_content(caller: Caller, path: FilePath, query: ContentQuery) -> Response:
    """The bytes of a file, or its thumbnail, as an attachment that no browser opens as a page."""
    found = web().resources.files.find(caller.user.id, path.file_id)
    return download_thumbnail(found) if query.variant else download(found)


@routes.route_for("delete", "/files/<file_id>", access="user", limit="reads", answers=(Answer(204, "It is deleted"),))
def delete_file(caller: Caller, path: FilePath) -> Response:
    """Delete a file. Messages that refer to it stay."""
    web().resources.files.delete(caller.user.id, path.file_id)
    return Response(status=204)
