"""A refusal as the OpenAPI document describes it; ``errors`` makes its JSON."""

from __future__ import annotations

from pydantic import BaseModel, Field


class FieldError(BaseModel):
    """A field that was refused."""

    field: str
    detail: str


class Problem(BaseModel):
    """A refusal (RFC 9457)."""

    type: str = Field(description="A stable reference for this kind of problem", examples=["/problems/invalid-field"])
    title: str
    status: int
    detail: str
    errors: list[FieldError]
    limit: str | None = Field(None, description="The variable of the limit that was reached; absent for other refusals")
    request_id: str | None
