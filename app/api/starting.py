"""The answer to every request that asks for a generation: its objects, or its stream."""

from __future__ import annotations

from flask import Response, url_for

from app.api import render, shapes, streams
from app.api.identity import Caller
from app.api.process import WebProcess, web
from app.api.routing import EVENT_STREAM, Answer
from app.domain.commands import User
from app.domain.errors import DatabaseDown
from app.services.generations import GenerationView
from app.services.starting import Command, Started

ANSWERS = (
    Answer(202, "Stored; the answer is on its way", shapes.Started, headers=("Location",)),
    Answer(200, "This key was used before: what it led to", shapes.Started, headers=("Location",)),
    Answer(200, "This key was used before: what it led to; or the stream", content_type=EVENT_STREAM),
)


def answer_started(caller: Caller, command: Command, *, as_stream: bool) -> Response:
    """Start what is asked for: 202 and the objects, 200 when that was done before, or 200 and the stream."""
    process = web()
    if as_stream:
        return streams.serve_started(process, caller, command)
    begun = process.begin(caller.user, command)
    location = url_for("generations.get_generation", generation_id=begun.generation.id)
    body = render.started(begun, _view(process, caller.user, begun))
    return render.answer(body, 200 if begun.repeated else 202, {"Location": location})


def _view(process: WebProcess, user: User, begun: Started) -> GenerationView:
    try:
        return process.resources.generations.get(user, begun.generation.id)
    except DatabaseDown:
        # It is stored, and that has to be said.
        return render.fresh(begun.generation)
