"""The outcome of an import."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import BaseModel, Field, RootModel

from app.api.representations.conversation import Conversation
from app.api.representations.fields import Json
from app.store import conversations as rows


@dataclass(slots=True)
class Summary:
    """The progress of an import of another program's export. ``messages``: those of new conversations."""

    conversations: list[rows.Conversation] = field(default_factory=list)
    messages: int = 0
    skipped: list[tuple[str | None, str]] = field(default_factory=list)

    def skip(self, title: str | None, reason: str) -> None:
        """Note a conversation that is left out."""
        self.skipped.append((title, reason))


class SkippedConversation(BaseModel):
    """A conversation that was left out."""

    title: str | None
    reason: str


class ImportSummary(BaseModel):
    """The outcome of an import of another program's export."""

    conversations: list[Conversation] = Field(description="New ones, in the order of the export")
    messages: int = Field(description="Their messages")
    skipped: list[SkippedConversation]

    @staticmethod
    def of(summary: Summary) -> Json:
        """A summary."""
        return {
            "conversations": [Conversation.of(one) for one in summary.conversations],
            "messages": summary.messages,
            "skipped": [{"title": title, "reason": reason} for title, reason in summary.skipped],
        }


class Imported(RootModel[Conversation | ImportSummary]):
    """The conversation, where one of ours was imported; the summary for the export of another program."""
