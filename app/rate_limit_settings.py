"""The variables of rate limits."""

from __future__ import annotations

from pydantic import field_validator
from pydantic_settings import BaseSettings


class RateLimitSettings(BaseSettings):
    """The rates of a user's requests, and of sign-ins from one address."""

    ratelimit_new_conversations: str = "10/minute"
    ratelimit_generations: str = "60/minute"
    ratelimit_imports: str = "10/minute"
    ratelimit_exports: str = "20/hour"
    ratelimit_uploads: str = "120/minute"
    ratelimit_reads: str = "600/minute"
    ratelimit_sign_ins: str = "120/minute"

    @field_validator(
        "ratelimit_new_conversations",
        "ratelimit_generations",
        "ratelimit_imports",
        "ratelimit_exports",
        "ratelimit_uploads",
        "ratelimit_reads",
        "ratelimit_sign_ins",
    )
    @classmethod
    def _readable_limit(cls, limit: str) -> str:
        from limits import parse_many

        parse_many(limit)
        return limit
