"""``gunicorn tests.soak.plants.web:app``: the real web application with a leak in it."""

from __future__ import annotations

from tests.soak.plants import leaks

leaks.plant()

from wsgi import app  # noqa: E402

__all__ = ["app"]
