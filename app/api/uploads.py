"""Routes of uploads that can be resumed: begin, append, look at, complete, cancel."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from app.api.auth.caller import Caller
from app.api.bodies import PART_FORM
from app.api.fields import KeyHeaders
from app.api.json_response import respond
from app.api.representations.uploads import UploadObject
from app.api.request_parsing import Body, Query, Text
from app.api.routing import Answer, Routes
from app.api.upload_requests import Bytes, Md5, MediaType, PartForm, UploadPath, completed
from app.api.web_process import web
from app.services.files import NewFile

routes = Routes("uploads", __name__, "/api/v1", "Uploads that can be resumed after a lost connection")

_UPLOAD = Answer(200, "The upload", UploadObject)


class NewUploadBody(Body):
    """A file that is to be attached to a message, before its bytes."""

    filename: Text = Field(max_length=1000)
    bytes: Bytes
    media_type: MediaType | None = Field(None, description="Not believed: a type that contradicts the bytes is refused")


class OffsetQuery(Query):
    """The place of the bytes."""

    offset: int = Field(ge=0, description="`offset` of the upload: the number of bytes before these")


class CompleteUploadBody(Body):
    """The end of an upload."""

    md5: Md5 | None = None


@routes.route_for(
    "post",
    "/uploads",
    access="user",
    limit="uploads",
    answers=(Answer(201, "The upload", UploadObject, headers=("Location",)),),
    refusals=(409,),
)
def create_upload(caller: Caller, header: KeyHeaders, body: NewUploadBody) -> Response:
    """Begin an upload in parts of a file for a message. It expires after an hour.

    A repeated request with its `Idempotency-Key` returns the same upload."""
    new = NewFile(body.filename, declared=body.media_type, is_attachment=True)
    made = web().resources.uploads.create(caller.user.id, new, body.bytes, header.key(None))
    return respond(UploadObject.of(made), 201, {"Location": f"/api/v1/uploads/{made.id}"})


@routes.route_for("get", "/uploads/<upload_id>", access="user", limit="reads", answers=(_UPLOAD,))
def get_upload(caller: Caller, path: UploadPath) -> Response:
    """One upload. After a lost connection, `offset` says where to go on."""
    return respond(UploadObject.ended(web().resources.uploads.find(caller.user.id, path.upload_id)))


@routes.route_for(
    "patch",
    "/uploads/<upload_id>",
    access="user",
    limit="uploads",
    answers=(_UPLOAD,),
    refusals=(409,),
    body_kind=PART_FORM,
)
def append_to_upload(caller: Caller, path: UploadPath, query: OffsetQuery, form: PartForm) -> Response:
    """Append bytes to an upload. 409 when they do not begin where those of the upload end."""
    uploads = web().resources.uploads
    return respond(UploadObject.of(uploads.append(caller.user.id, path.upload_id, form.data.staged, query.offset)))


@routes.route_for(
    "post", "/uploads/<upload_id>/complete", access="user", limit="uploads", answers=(_UPLOAD,), refusals=(409,)
)
def complete_upload(caller: Caller, path: UploadPath, body: CompleteUploadBody) -> Response:
    """Make a file of all appended bytes. A repeated request returns the same file."""
    return respond(UploadObject.ended(completed(caller.user.id, path.upload_id, None, body.md5)))


@routes.route_for(
    "delete",
    "/uploads/<upload_id>",
    access="user",
    limit="reads",
    answers=(Answer(204, "It is cancelled"),),
    refusals=(409,),
)
def delete_upload(caller: Caller, path: UploadPath) -> Response:
    """Cancel an upload. Workers remove its bytes."""
    web().resources.uploads.cancel(caller.user.id, path.upload_id)
    return Response(status=204)
