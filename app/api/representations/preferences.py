"""The preferences of a user."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.representations.conversation import ConversationParameters
from app.api.representations.fields import Json


class Preferences(BaseModel):
    """The preferences of a user; null for a choice that was not made."""

    theme: Literal["system", "light", "dark"] | None
    language: str | None = Field(description="Of the page, as BCP 47 has it", examples=["de", "pt-BR"])
    model: str | None = Field(description="Answers in conversations without a model of their own")
    system_prompt: str | None = Field(description="A new conversation begins with it")
    parameters: ConversationParameters | None = Field(description="A new conversation begins with them")

    @staticmethod
    def of(chosen: dict[str, Any]) -> Json:
        """All preferences, from the choices that were made."""
        return {name: chosen.get(name) for name in Preferences.model_fields}
