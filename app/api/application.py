"""Builds the Flask application. Connections are made after the fork, in `web_process`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.openapi import OpenAPI

from app.api import (
    account,
    api_keys,
    audit,
    bodies,
    budgets,
    conversations,
    cors,
    document,
    errors,
    feeds,
    files,
    generations,
    guards,
    messages,
    models,
    ops,
    ops_overview,
    ops_users,
    ops_webhooks,
    ops_workers,
    own_data,
    preferences,
    probes,
    search,
    service_accounts,
    sessions,
    shares,
    short_way,
    sign_in,
    sign_in_by_provider,
    tickets,
    tracing,
    transfer,
    uploads,
    usage,
    webhooks,
)
from app.api.aisdk import chat as aisdk
from app.api.auth.keys import KeyMethod
from app.api.auth.sessions import SessionMethod
from app.api.auth.signatures import SignatureMethod
from app.api.auth.site import Site
from app.api.auth.tokens import TokenMethod, Verifier
from app.api.budget_warnings import BudgetWarnings
from app.api.limits import Limits
from app.api.openai import chat, embeddings, responses
from app.api.openai import conversations as openai_conversations
from app.api.openai import errors as openai_errors
from app.api.openai import files as openai_files
from app.api.openai import models as openai_models
from app.api.openai import uploads as openai_uploads
from app.api.openai import webhooks as openai_webhooks
from app.api.representations.problem import Problem
from app.api.routing import public
from app.api.web_process import EXTENSION, WebProcess
from app.config import Settings
from app.eventlog import allowance
from app.web import diagram, views

# The modules of the native protocol, in the order of the document.
_NATIVE = (
    generations, messages, conversations, files, uploads, feeds, search, transfer, shares, usage, account, preferences,
    own_data,
    api_keys, audit, models, tickets, sessions, service_accounts, budgets, webhooks, ops, ops_overview, ops_users,
    ops_workers, ops_webhooks,
)  # fmt: skip

_OPENAI = (
    responses,
    openai_conversations,
    openai_files,
    openai_uploads,
    chat,
    embeddings,
    openai_models,
    openai_webhooks,
)


class _App(OpenAPI):
    """Flask without the check of each called function for a coroutine: no view is one."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func

    def register_api(self, api: APIBlueprint, **options: Any) -> None:
        """Register the routes of a module. The library documents the last module of a path, and drops the others."""
        shared = {path: self.paths[path] for path in self.paths.keys() & api.paths.keys()}
        super().register_api(api, **options)
        for path, item in shared.items():
            added = self.paths[path]
            self.paths[path] = item.model_copy(update={name: getattr(added, name) for name in added.model_fields_set})


def create_app(settings: Settings) -> OpenAPI:
    """The application. ``app.extensions[EXTENSION]`` is its WebProcess, which has to be started and closed."""
    app = _App(
        "unbroken",
        static_folder=None,
        info=document.INFO,
        security_schemes=document.SECURITY,
        validation_error_model=Problem,
        # Every route documents its own refusals; flask-openapi3 adds none.
        validation_error_status=500,
        doc_ui=False,
    )
    app.config.update(MAX_CONTENT_LENGTH=settings.max_body_bytes, MAX_FORM_MEMORY_SIZE=0)
    verifier = Verifier(app, settings)
    # A credential in the headers wins over the cookie.
    site = Site(settings.public_url, settings.sign_in_over_http)
    methods = (KeyMethod(), TokenMethod(verifier), SignatureMethod(settings), SessionMethod(site))
    app.config[views.SIGN_IN] = "oidc" if settings.oidc_issuer else "link"
    app.extensions[EXTENSION] = WebProcess(settings, verifier, methods, Limits(app, settings))
    tracing.register(app)
    _bound_waits(app, settings.redis_seconds_per_request)
    errors.register(app, views.render_not_found)
    app.extensions[errors.FORMS] = {openai_errors.PREFIX: openai_errors.respond}
    app.after_request(_protect)
    BudgetWarnings(app)
    cors.register(app, settings)
    for module in (*_NATIVE, *_OPENAI, aisdk):
        app.register_api(module.routes)
    app.register_blueprint(probes.blueprint)
    for pages in (views.page, diagram.routes, shares.blueprint, sign_in.blueprint, sign_in_by_provider.blueprint):
        app.register_blueprint(pages)
        for endpoint, view in app.view_functions.items():
            if endpoint.startswith(f"{pages.name}."):
                public(view)
    document.register(app, settings)
    app.extensions["connection-bounds"] = bodies.bounds(app, settings)
    short_way.register(app, settings.redis_seconds_per_request)
    return app


def _bound_waits(app: Flask, seconds: float) -> None:
    """Bound the time that one request waits for Redis, over all of its commands."""
    app.before_request(lambda: allowance.begin(request.environ.get(short_way.REDIS_SECONDS, seconds)))
    app.teardown_request(lambda _: allowance.end())


def _protect(response: Response) -> Response:
    """Add the headers that a response has not set: no type is guessed, no page framed, no private response stored."""
    for name, value in guards.GUARDS:
        response.headers.setdefault(name, value)
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store" if _is_private() else "no-cache"
    return response


def _is_private() -> bool:
    return request.path.startswith(("/api/", "/v1/"))
