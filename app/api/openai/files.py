"""Routes of files, as OpenAI has them."""

from __future__ import annotations

from flask import Response

from app.api.auth.caller import Caller
from app.api.bodies import FILE_FORM
from app.api.file_download import DOWNLOAD_HEADERS, download
from app.api.json_response import respond
from app.api.openai import shapes
from app.api.openai.file_bodies import FilePath, NewFileForm, OpenAIFiles, OpenAIFilesQuery
from app.api.representations.files import FileObject
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.store.files import FilePage

routes = Routes("openai_files", __name__, "/v1", "OpenAI-compatible: files", refusal="OpenAIError")

_FILE = Answer(200, "The file", FileObject)


@routes.route_for(
    "post",
    "/files",
    access="user",
    limit="uploads",
    answers=(_FILE,),
    refusals=(409,),
    body_kind=FILE_FORM,
)
def create_openai_file(caller: Caller, form: NewFileForm) -> Response:
    """Upload a file. It stays until it is deleted or expires."""
    made = web().resources.files.store_staged(caller.user.id, form.new(), form.file.staged)
    return respond(FileObject.of(made))


@routes.route_for("get", "/files", access="user", limit="reads", answers=(Answer(200, "A page", OpenAIFiles),))
def list_openai_files(caller: Caller, query: OpenAIFilesQuery) -> Response:
    """List the files of the user, newest first."""
    wanted = FilePage(query.limit + 1, query.after, query.purpose, query.order == "asc")
    return respond(OpenAIFiles.of(web().resources.files.page(caller.user.id, wanted), query.limit))


@routes.route_for("get", "/files/<file_id>", access="user", limit="reads", answers=(_FILE,))
def get_openai_file(caller: Caller, path: FilePath) -> Response:
    """Get a file."""
    return respond(FileObject.of(web().resources.files.find(caller.user.id, path.file_id)))


@routes.route_for(
    "get",
    "/files/<file_id>/content",
    access="user",
    limit="reads",
    answers=(Answer(200, "The bytes", None, "application/octet-stream", headers=DOWNLOAD_HEADERS),),
)
def get_openai_file_content(caller: Caller, path: FilePath) -> Response:
    """Get the bytes of a file."""
    return download(web().resources.files.find(caller.user.id, path.file_id))


@routes.route_for(
    "delete",
    "/files/<file_id>",
    access="user",
    limit="reads",
    answers=(Answer(200, "The file is deleted", shapes.OpenAIDeleted),),
)
def delete_openai_file(caller: Caller, path: FilePath) -> Response:
    """Delete a file."""
    web().resources.files.delete(caller.user.id, path.file_id)
    return respond({"id": path.file_id, "object": "file", "deleted": True})
