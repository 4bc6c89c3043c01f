"""Positions in lists that are newest first: a time and an id, opaque to clients."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from uuid import UUID

from app.domain.errors import MalformedInput


def write_cursor(at: datetime, item_id: str) -> str:
    """The cursor of the page that follows the item of this time and id."""
    text = f"{at.isoformat()} {item_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """The time and id it was written with. Raises MalformedInput."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, _, item_id = text.partition(" ")
        when = datetime.fromisoformat(at)
        if when.tzinfo is None:
            raise ValueError("a cursor's time has a zone")
        # The form that this module writes: PostgreSQL knows no zone with an offset above sixteen hours.
        return when.astimezone(UTC), str(UUID(item_id))
    except (ValueError, OverflowError, binascii.Error):
        raise MalformedInput("This is not a cursor of this list.", "cursor") from None
