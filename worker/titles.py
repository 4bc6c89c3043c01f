"""Names conversations in the background, while their answers are made: nothing ever waits for a title."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from time import monotonic
from typing import Literal, TypeVar

import structlog

from app.domain import titles
from app.domain.errors import DatabaseDown
from app.services.titles import Titles
from app.store.conversations import Untitled
from app.store.leases import Claimed
from worker.providers.base import ChatMessage, Finished, Piece, Prompt, Provider, ProviderError, Text, Usage
from worker.providers.offline import Offline

T = TypeVar("T")
By = Literal["model", "words", "nobody"]

# A title that takes longer comes from the first words.
SECONDS = 10.0
# A model that goes on after this many characters is not writing a title.
MOST_CHARACTERS = 400
# Calls at the same time; beyond them the first words have to do.
MOST_CALLS = 50

_log = structlog.get_logger()


class _Enough(Exception):
    """The model has said more than a title."""


class Titler:
    """Names the conversations of a process's answers. Used from the process's loop only.

    ``by``: the conversation's model is asked, the first words are taken, or nobody names anything.
    """

    def __init__(self, service: Titles, executor: Executor, by: By) -> None:
        self._service = service
        self._executor = executor
        self._by = by
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, claimed: Claimed, model: str, provider: Provider) -> None:
        """See to a title of this answer's conversation. ``model`` is its name at the provider."""
        key = claimed.conversation_id
        if self._by == "nobody" or key in self._tasks:
            return
        task = asyncio.ensure_future(self._name(claimed, model, provider))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    def close(self) -> None:
        """Name nothing more; the next answer of a conversation tries again."""
        for task in list(self._tasks.values()):
            task.cancel()

    async def _name(self, claimed: Claimed, model: str, provider: Provider) -> None:
        generation_id = claimed.lease.generation_id
        try:
            wanted = await self._do(lambda: self._service.wanted(generation_id))
            if wanted is None:
                return
            title = await self._asked(wanted, model, provider) if self._may_ask(wanted, provider) else ""
            title = title or titles.from_words(wanted.message)
            if title:
                await self._do(lambda: self._service.give(claimed.conversation_id, generation_id, title))
        except DatabaseDown as error:
            _log.warning("title not written", action="title", generation_id=generation_id, error=error.detail)
        except Exception:
            _log.exception("title failed", action="title", generation_id=generation_id)

    def _may_ask(self, wanted: Untitled, provider: Provider) -> bool:
        # Programs that talk to us as to a provider pay for what they ask, and look at no titles.
        by_model = self._by == "model" and not isinstance(provider, Offline)
        return by_model and not wanted.by_program and len(self._tasks) <= MOST_CALLS

    async def _asked(self, wanted: Untitled, model: str, provider: Provider) -> str:
        """What the model calls it; empty when it does not say in time."""
        said, began, outcome = "", monotonic(), "said"
        usage: Usage | None = None

        def hear(pieces: list[Piece]) -> None:
            nonlocal said, usage
            said += "".join(piece.text for piece in pieces if isinstance(piece, Text))
            usage = next((piece.usage for piece in pieces if isinstance(piece, Finished)), usage)
            if len(said) > MOST_CHARACTERS:
                raise _Enough

        prompt = Prompt(model, (ChatMessage("user", titles.request(wanted.message)),))
        try:
            with suppress(_Enough):
                async with asyncio.timeout(SECONDS):
                    await provider.stream(prompt, hear)
        except ProviderError as error:
            said, usage, outcome = "", error.usage, error.code
        except TimeoutError:
            said, outcome = "", "timeout"
        _log.info(
            "title asked for",
            action="title",
            conversation_id=wanted.conversation_id,
            outcome=outcome,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            seconds=round(monotonic() - began, 3),
        )
        return titles.from_answer(said)

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
