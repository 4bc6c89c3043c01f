"""Pages of other origins: what their browsers let them ask here, and read of the answers."""

from __future__ import annotations

from flask import Flask
from flask_cors import CORS

from app.config import Settings

# What programs use; our own page needs no leave.
RESOURCES = r"/(api|v1)/.*"
# What a page may read besides the type and the length of a body. Which headers it sends is its own affair.
READABLE = (
    "content-disposition",
    "etag",
    "location",
    "retry-after",
    "www-authenticate",
    "x-request-id",
    "x-should-retry",
    "x-vercel-ai-ui-message-stream",
)
# Seconds for which a browser need not ask again before each request.
REMEMBERED = 600


def register(app: Flask, settings: Settings) -> None:
    """Let in the pages of the origins that the deployment names; without any nothing is said about origins.

    No cookies are used here, so none are allowed: a page of another origin has to bring a token.
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
            # Refusals are answers like all others, and pass where those pass.
            intercept_exceptions=False,
        )
