"""The OpenAPI document of this deployment, its page, and a page for each type of problem."""

from __future__ import annotations

from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Any

import flask_openapi3_swagger
import orjson
from flask import Blueprint, Response, abort, send_from_directory
from flask_openapi3.models.info import Info
from flask_openapi3.models.security_scheme import SecurityScheme
from flask_openapi3.openapi import OpenAPI
from flask_openapi3.utils import get_model_schema

from app.api import representations
from app.api.aisdk import shapes as aisdk_shapes
from app.api.auth.site import OVER_TLS
from app.api.errors import KINDS, slug_of
from app.api.openai import file_bodies as file_shapes
from app.api.openai import shapes as openai_shapes
from app.api.openai import webhook_bodies as webhook_shapes
from app.api.routing import public
from app.config import Settings
from app.domain.version import VERSION

INFO = Info(
    title="Unbroken",
    version=VERSION,
    description=(
        "Sends messages, generates the answers in the background, and never breaks the stream. "
        "Refusals are problems (RFC 9457), under /v1 errors as OpenAI has them. The events of streams are described "
        "in the project's docs/clients."
    ),
)
SECURITY: dict[str, SecurityScheme | dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT, or an API key unb_…"},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": OVER_TLS,
        "description": "From a sign-in in this browser. A request that changes something needs a matching Origin.",
    },
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "Signature-Input",
        "description": "HTTP Message Signatures (RFC 9421), with the header Signature: docs/clients/signed-requests.md",
    },
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "From POST /api/v1/stream-tickets"},
}

blueprint = Blueprint("document", __name__)

_ASSETS = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"
# Swagger UI writes styles into its elements; its scripts are served from this origin.
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"


def register(app: OpenAPI, settings: Settings) -> None:
    """Add the models of all responses to the document, and serve it."""
    for shape in (*representations.ALL, *openai_shapes.ALL, *file_shapes.ALL, *webhook_shapes.ALL, *aisdk_shapes.ALL):
        schema = get_model_schema(shape, mode="serialization")
        app.components_schemas.update(schema.pop("$defs", {}))
        app.components_schemas[shape.__name__] = schema

    @public
    def openapi() -> Response:
        """The document."""
        made: dict[str, Any] = app.api_doc
        message = made["components"]["schemas"]["StartBody"]["properties"]["message"]
        message["maxLength"] = settings.max_message_chars
        return Response(orjson.dumps(made), content_type="application/json")

    app.add_url_rule("/openapi.json", view_func=openapi)
    app.register_blueprint(blueprint)


@blueprint.get("/docs")
@public
def docs() -> Response:
    """Swagger UI with the document. It loads nothing from other origins."""
    response = Response(_PAGE, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@blueprint.get("/docs/start.js")
@public
def start() -> Response:
    """The script that starts the page."""
    return Response(_START, content_type="text/javascript; charset=utf-8")


@blueprint.get("/docs/assets/<path:name>")
@public
def assets(name: str) -> Response:
    """Swagger UI's own files, from its package."""
    return send_from_directory(_ASSETS, name, max_age=86_400)


@blueprint.get("/problems/<slug>")
@public
def problem_type(slug: str) -> Response:
    """The meaning of a type of problem, at the address that a problem gives as its type."""
    status, title, meaning = _meanings().get(slug) or abort(404)
    page = f"<!doctype html><title>{escape(title)}</title><h1>{status} {escape(title)}</h1><p>{escape(meaning)}</p>"
    return Response(page, content_type="text/html; charset=utf-8")


def _meanings() -> dict[str, tuple[int, str, str]]:
    """Status, title and meaning of every type of problem, by slug."""
    http = {
        slug_of(status): (status.value, status.phrase, status.description) for status in HTTPStatus if status >= 400
    }
    ours = {
        kind.slug: (kind.status, kind.title, (error.__doc__ or "").strip().splitlines()[0].replace("``", ""))
        for error, kind in KINDS.items()
    }
    return http | ours


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Unbroken: API</title>
<link rel="stylesheet" href="/docs/assets/css/swagger-ui.css">
<div id="api"></div>
<script src="/docs/assets/js/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"""
