"""The response to every request that starts a generation: its objects, or its stream."""

from __future__ import annotations

from contextlib import suppress

from flask import Response, url_for

from app.api import streams
from app.api.auth.caller import Caller
from app.api.json_response import respond
from app.api.representations.generation import Started, fresh
from app.api.routing import EVENT_STREAM, Answer
from app.api.web_process import WebProcess, web
from app.domain.commands import User
from app.domain.errors import DatabaseDown
from app.services import generation_start
from app.services.generations import GenerationView
from app.services.placement import Command

ANSWERS = (
    Answer(202, "Stored; the answer is on its way", Started, headers=("Location",)),
    Answer(200, "This key was used before: what it led to", Started, headers=("Location",)),
    Answer(200, "This key was used before: what it led to; or the stream", content_type=EVENT_STREAM),
)


def answer_started(caller: Caller, command: Command, *, as_stream: bool) -> Response:
    """Start a generation. The response is 202 with the objects, 200 for a repeated request, or 200 with the stream."""
    process = web()
    if command.webhook_url is not None:
        process.resources.webhooks.check_url(command.webhook_url, "webhook_url")
    if as_stream:
        return streams.serve_started(process, caller, command)
    begun = process.begin(caller.user, command, with_position=True)
    location = url_for("generations.get_generation", generation_id=begun.generation.id)
    body = Started.of(begun, _view(process, caller.user, begun))
    return respond(body, 200 if begun.repeated else 202, {"Location": location})


def _view(process: WebProcess, user: User, begun: generation_start.Started) -> GenerationView:
    """The generation as it was accepted; one that an earlier request accepted is looked up."""
    if begun.repeated:
        with suppress(DatabaseDown):
            return process.resources.generations.get(user, begun.generation.id)
    return fresh(begun.generation, begun.queue_position)
