"""``celery -A tests.chaos.plants.worker``: the real worker with a bug in it."""

from __future__ import annotations

from tests.chaos.plants import bugs

bugs.plant()

from worker.celery_app import celery  # noqa: E402

__all__ = ["celery"]
