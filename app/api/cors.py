"""CORS: the origins whose pages may send requests here, and the headers they may read."""

from __future__ import annotations

from flask import Flask
from flask_cors import CORS

from app.api import budget_warnings, rate_limit_headers
from app.config import Settings

# The paths that programs use. The service's own page has the same origin.
RESOURCES = r"/(api|v1)/.*"
# Response headers that a page may read, besides the type and the length of a body. A page may send any header.
READABLE = (
    "content-disposition",
    "etag",
    "location",
    "retry-after",
    "www-authenticate",
    "x-request-id",
    "x-should-retry",
    "x-vercel-ai-ui-message-stream",
    *rate_limit_headers.NAMES,
    budget_warnings.HEADER.lower(),
)
# Seconds for which a browser keeps the answer to its preflight request.
REMEMBERED = 600


def register(app: Flask, settings: Settings) -> None:
    """Allow the origins that the deployment names. Without any, no header of CORS is sent.

    Cookies are not allowed: a page of another origin has to send a token.
    """
    if settings.cors_origins:
        CORS(
            app,
            resources=RESOURCES,
            origins=settings.cors_origins,
            expose_headers=READABLE,
            max_age=REMEMBERED,
            send_wildcard=True,
            always_send=False,
            # Refusals get these headers like all other responses.
            intercept_exceptions=False,
        )
