"""``gunicorn tests.chaos.plants.web:app``: the real web application with a bug in it."""

from __future__ import annotations

from tests.chaos.plants import bugs

bugs.plant()

from wsgi import app  # noqa: E402

__all__ = ["app"]
