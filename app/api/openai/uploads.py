"""Routes of uploads in parts, as OpenAI has them."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Response
from pydantic import Field

from app.api.auth.caller import Caller
from app.api.bodies import PART_FORM
from app.api.json_response import respond
from app.api.openai.bodies import OpenAIBody
from app.api.openai.file_bodies import OfClients
from app.api.representations.uploads import UploadObject, UploadPart
from app.api.request_parsing import Body, Text
from app.api.routing import Answer, Routes
from app.api.upload_requests import Bytes, Md5, MediaType, PartForm, UploadPath, completed
from app.api.web_process import web
from app.services.files import NewFile

routes = Routes("openai_uploads", __name__, "/v1", "OpenAI-compatible: uploads in parts", refusal="OpenAIError")

_UPLOAD = Answer(200, "The upload", UploadObject)


class FileExpiry(Body):
    """The time for which the file is kept."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000)


class NewOpenAIUploadBody(OpenAIBody):
    """A file before its bytes."""

    bytes: Bytes
    filename: Text = Field(max_length=1000)
    mime_type: MediaType
    purpose: OfClients
    expires_after: FileExpiry | None = None


class CompleteOpenAIUploadBody(OpenAIBody):
    """The end of an upload."""

    part_ids: list[Annotated[Text, Field(max_length=100)]] = Field(
        min_length=1, max_length=10_000, description="The ids of the parts, in the order of the file"
    )
    md5: Md5 | None = None


@routes.route_for("post", "/uploads", access="user", limit="uploads", answers=(_UPLOAD,), refusals=(409,))
def create_openai_upload(caller: Caller, body: NewOpenAIUploadBody) -> Response:
    """Begin an upload in parts. It expires after an hour."""
    seconds = body.expires_after.seconds if body.expires_after else None
    new = NewFile(body.filename, body.purpose, body.mime_type, seconds)
    return respond(UploadObject.of(web().resources.uploads.create(caller.user.id, new, body.bytes)))


@routes.route_for(
    "post",
    "/uploads/<upload_id>/parts",
    access="user",
    limit="uploads",
    answers=(Answer(200, "The part", UploadPart),),
    refusals=(409,),
    body_kind=PART_FORM,
)
def add_openai_upload_part(caller: Caller, path: UploadPath, form: PartForm) -> Response:
    """Add a part. Parts may be sent at the same time and in any order."""
    return respond(UploadPart.of(web().resources.uploads.add_part(caller.user.id, path.upload_id, form.data.staged)))


@routes.route_for(
    "post", "/uploads/<upload_id>/complete", access="user", limit="uploads", answers=(_UPLOAD,), refusals=(409,)
)
def complete_openai_upload(caller: Caller, path: UploadPath, body: CompleteOpenAIUploadBody) -> Response:
    """Make a file of the parts. Their bytes together must be as many as the upload was created for."""
    return respond(UploadObject.ended(completed(caller.user.id, path.upload_id, body.part_ids, body.md5)))


@routes.route_for(
    "post", "/uploads/<upload_id>/cancel", access="user", limit="reads", answers=(_UPLOAD,), refusals=(409,)
)
def cancel_openai_upload(caller: Caller, path: UploadPath) -> Response:
    """Cancel an upload. No part can be added any more."""
    return respond(UploadObject.of(web().resources.uploads.cancel(caller.user.id, path.upload_id)))
