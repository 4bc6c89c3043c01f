"""The variables of users' own data."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class OwnDataSettings(BaseSettings):
    """The limits of imports, exports and shares, and the times for which rows are kept."""

    # A file of an archive with 2 GB or more would need the 64-bit form, which not every program reads.
    max_export_bytes: int = Field(67_108_864, ge=1024, le=2_000_000_000)
    max_exports_at_once: int = Field(2, ge=1)
    max_import_conversations: int = Field(1000, ge=1, le=10_000)
    max_import_conversation_bytes: int = Field(8_388_608, ge=1024)
    retention_days: int | None = Field(None, ge=1, le=36_500)
    max_shares_per_user: int = Field(100, ge=0, le=1000)
    max_share_bytes: int = Field(2_000_000, ge=1024, le=20_000_000)
    temporary_chat_seconds: float = Field(86_400, ge=1)
    reserved_conversation_days: int = Field(90, ge=1, le=36_500)
    # A budget of a month reads the days of the month.
    usage_days: int = Field(3650, ge=62, le=36_500)
    erasure_days: int = Field(3650, ge=1, le=36_500)

    @property
    def share_bounds(self) -> tuple[int, int]:
        """Conversations that a user shares at a time, and bytes of text in each."""
        return self.max_shares_per_user, self.max_share_bytes

    @property
    def export_bounds(self) -> tuple[int, int]:
        """The bytes of one archive, and the exports that a process makes at a time."""
        return self.max_export_bytes, self.max_exports_at_once

    @property
    def kept_days(self) -> tuple[int, int, int]:
        """The days for which unused reservations, usage and finished erasures are kept."""
        return self.reserved_conversation_days, self.usage_days, self.erasure_days
