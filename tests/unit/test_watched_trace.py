"""The address of a generation's trace follows from a template."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest

from app.api.representations.admin import WatchedLife
from app.store.admin_generations import Watched

TRACE = "0af7651916cd43dd8448eb211c80319c"


def watched(traceparent: str | None) -> Watched:
    values: dict[str, Any] = {field.name: None for field in fields(Watched)}
    now = datetime.now(UTC)
    values |= {"traceparent": traceparent, "created_at": now, "last_updated": now, "status": "queued", "epoch": 0}
    return Watched(**{**values, "attempts": [], "subject": "alice"})


@pytest.mark.parametrize(
    ("traceparent", "template", "address"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", "https://t/{trace_id}?x", f"https://t/{TRACE}?x"),
        (f"00-{TRACE}-b7ad6b7169203331-01", None, None),
        (None, "https://t/{trace_id}", None),
        ("nonsense", "https://t/{trace_id}", None),
    ],
)
def test_a_trace_has_an_address(traceparent: str | None, template: str | None, address: str | None) -> None:
    shown = WatchedLife.life(watched(traceparent), [], 30, template)
    assert shown["trace_url"] == address
