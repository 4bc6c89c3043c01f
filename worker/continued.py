"""An answer that goes on where an earlier one was cut off: its revisions begin with the text of that answer.

A provider that continues a text receives it as it receives a text that was interrupted. Any other provider receives it
as a message, with an instruction behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

from app.domain.answer_format import restored_parameters
from app.domain.commands import CONTINUES
from app.services.history import History
from worker.blocking import Blocking
from worker.providers.base import ChatMessage, Provider
from worker.providers.chat.request import CONTINUE_INSTRUCTION
from worker.run_state import RunState
from worker.toolbox import Kept


class EarlierText:
    """Finds the text that an answer continues."""

    def __init__(self, history: History, blocking: Blocking) -> None:
        self._history = history
        self._blocking = blocking

    async def before(self, run: RunState, kept: Kept) -> Kept:
        """The text that a revision begins with: ``kept``, or without any the text of the earlier answer.

        Raises the reason of an interruption.
        """
        message_id = _message_id(run.claimed.parameters)
        if kept.text or message_id is None:
            return kept
        read = partial(self._history.text, run.claimed.lease.generation_id, message_id)
        return kept._replace(text=await self._blocking.retry_while_db_down(run, read))


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The stored parameters of a request, as a provider receives them."""
    return {name: value for name, value in restored_parameters(parameters).items() if name != CONTINUES}


def for_provider(provider: Provider, before: list[ChatMessage], prefix: str) -> tuple[list[ChatMessage], str]:
    """The messages of the answer so far, and the prefix, in the form that the provider can continue."""
    if not prefix or provider.continues:
        return before, prefix
    return [*before, ChatMessage("assistant", prefix), ChatMessage("user", CONTINUE_INSTRUCTION)], ""


def _message_id(parameters: Mapping[str, Any]) -> str | None:
    """The id of the message that is continued. A program may have sent anything under the name."""
    try:
        return str(UUID(parameters[CONTINUES]))
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
