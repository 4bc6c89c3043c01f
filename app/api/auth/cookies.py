"""The cookies of a request as browsers write them, read so that no cookie can hide another one."""

from __future__ import annotations

from flask import request


def cookies_named(name: str) -> list[str]:
    """The values of every cookie with exactly this name, as they were sent.

    A semicolon ends a cookie, also behind a quotation mark. Werkzeug reads quoted texts: two cookies of another site on
    this host, one with an opening quote and one with a closing one, would hide what a browser sends between them.
    """
    pairs = (part.strip(" \t").partition("=") for part in request.headers.get("Cookie", "").split(";"))
    return [value.lstrip(" \t") for found, _, value in pairs if found.rstrip(" \t") == name]
