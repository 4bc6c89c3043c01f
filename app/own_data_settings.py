"""The variables of users' own data."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class OwnDataSettings(BaseSettings):
    """The limits of exports, and the time for which conversations are kept."""

    # A file of an archive with 2 GB or more would need the 64-bit form, which not every program reads.
    max_export_bytes: int = Field(67_108_864, ge=1024, le=2_000_000_000)
    max_exports_at_once: int = Field(2, ge=1)
    retention_days: int | None = Field(None, ge=1, le=36_500)
    temporary_chat_seconds: float = Field(86_400, ge=1)
