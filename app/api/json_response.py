"""Answers in JSON."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response


def respond(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response with this object. Times become RFC 3339 in UTC."""
    response = Response(orjson.dumps(body, option=orjson.OPT_UTC_Z), status, content_type="application/json")
    response.headers.extend(headers or {})
    return response
