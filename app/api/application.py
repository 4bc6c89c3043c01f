"""Puts the Flask application together. Connects to nothing: that happens after the fork, in `process`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, request
from flask_openapi3.openapi import OpenAPI

from app.api import (
    account,
    conversations,
    cors,
    document,
    errors,
    feeds,
    generations,
    messages,
    models,
    ops,
    probes,
    search,
    shapes,
    tickets,
    tracing,
    transfer,
    usage,
)
from app.api.aisdk import chat as aisdk
from app.api.identity import Verifier
from app.api.limits import Limits
from app.api.openai import chat, form, responses
from app.api.openai import conversations as openai_conversations
from app.api.openai import models as openai_models
from app.api.process import EXTENSION, WebProcess
from app.api.routing import public
from app.config import Settings
from app.web import views

_GUARDS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


class _App(OpenAPI):
    """Flask, without looking at every function it calls whether it is a coroutine: none is."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(settings: Settings) -> OpenAPI:
    """The application; ``app.extensions[EXTENSION]`` is its process, to be started and closed."""
    app = _App(
        "unbroken",
        static_folder=None,
        info=document.INFO,
        security_schemes=document.SECURITY,
        validation_error_model=shapes.Problem,
        # Every route documents its own refusals; nothing is to be added.
        validation_error_status=500,
        doc_ui=False,
    )
    app.config.update(MAX_CONTENT_LENGTH=settings.max_body_bytes, MAX_FORM_MEMORY_SIZE=0)
    app.extensions[EXTENSION] = WebProcess(settings, Verifier(app, settings), Limits(app, settings))
    tracing.register(app)
    errors.register(app, views.render_not_found)
    app.extensions[errors.FORMS] = {form.PREFIX: form.respond}
    app.after_request(_protect)
    cors.register(app, settings)
    native = (generations, messages, conversations, feeds, search, transfer, usage, account, models, tickets, ops)
    for module in native:
        app.register_api(module.routes)
    for module in (responses, openai_conversations, chat, openai_models, aisdk):
        app.register_api(module.routes)
    app.register_blueprint(probes.blueprint)
    app.register_blueprint(views.page)
    for endpoint, view in app.view_functions.items():
        if endpoint.startswith(f"{views.page.name}."):
            public(view)
    document.register(app, settings)
    return app


def _protect(response: Response) -> Response:
    """Headers of every answer that has not set its own: nobody guesses types, frames us, or keeps private answers."""
    for name, value in _GUARDS.items():
        response.headers.setdefault(name, value)
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store" if _is_private() else "no-cache"
    return response


def _is_private() -> bool:
    return request.path.startswith(("/api/", "/v1/"))
