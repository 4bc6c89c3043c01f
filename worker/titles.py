"""Titles of conversations, made in the background while their answers are made: nothing ever waits for a title."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from threading import Event
from time import monotonic
from typing import Literal, NamedTuple, TypeVar

import structlog
from structlog.contextvars import bind_contextvars

from app.domain import titles
from app.domain.errors import DatabaseDown
from app.domain.lease import Claimed
from app.ops import metrics
from app.services.charges import CHARGE_SECONDS, Call
from app.services.titles import Titles
from app.services.usage import UsageReports
from app.store.titles import Untitled
from worker.attempts import EndedCall, prompt_tokens, record
from worker.generation_trace import GenerationTrace
from worker.log_ids import log_ids
from worker.providers.base import ChatMessage, Finished, Piece, Prompt, Provider, ProviderError, Text, Thought, Usage
from worker.providers.offline.provider import Offline
from worker.run_state import RunState

T = TypeVar("T")
By = Literal["model", "words", "nobody"]

# A title that takes longer is made of the first words, in seconds.
SECONDS = 10.0
# A longer reply is no title: the first words are taken.
MOST_CHARACTERS = 400
# The most calls at the same time; beyond them titles are made of the first words.
MOST_CALLS = 50

_log = structlog.get_logger()


class _TooLong(Exception):
    """The reply is longer than a title."""


class _Job(NamedTuple):
    """A title to be made. ``accepted_at``: the time of the monotonic clock at which the answer was accepted."""

    claimed: Claimed
    trace: GenerationTrace
    upstream: str
    model: str
    provider: Provider
    accepted_at: float


class Titler:
    """Names the conversations of a process's answers. Used from the process's loop only.

    ``by``: titles come from the conversation's model, from the first words, or are not made (``nobody``).
    """

    def __init__(self, service: Titles, usage: UsageReports, executor: Executor, by: By) -> None:
        self._service = service
        self._usage = usage
        self._executor = executor
        self._by = by
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._charges: set[asyncio.Future[bool]] = set()
        self._leaving = Event()

    def begin(self, run: RunState, upstream: str, model: str, provider: Provider) -> None:
        """Begin to make a title for the conversation of an answer. ``model`` is its name at the upstream."""
        key = run.claimed.conversation_id
        if self._by == "nobody" or self._leaving.is_set() or key in self._tasks:
            return
        task = asyncio.ensure_future(
            self._name(_Job(run.claimed, run.trace, upstream, model, provider, monotonic() - run.age))
        )
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    @property
    def is_idle(self) -> bool:
        """True when no title is made and no call of one is being charged."""
        return not self._tasks and not self._charges

    def pause(self) -> None:
        """Nothing to do: a title begins with an answer, and ends within ``SECONDS``."""

    def resume(self) -> None:
        """Nothing to do."""

    def release(self, conversations: Iterable[str]) -> None:
        """End the titles of conversations whose answers other workers continue; these make the titles, too."""
        for key in conversations:
            if task := self._tasks.get(key):
                task.cancel()

    async def close(self) -> None:
        """Make no more titles; the next answer of a conversation tries again. Calls on their way are counted."""
        self._leaving.set()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._charges, return_exceptions=True)

    async def _name(self, job: _Job) -> None:
        claimed, provider = job.claimed, job.provider
        generation_id = claimed.lease.generation_id
        bind_contextvars(**log_ids(claimed))
        try:
            wanted = await self._do(lambda: self._service.wanted(generation_id))
            if wanted is None:
                return
            title = await self._from_model(job, wanted) if self._may_call(wanted, provider) else ""
            title = title or titles.from_words(wanted.message)
            if not title:
                return
            if await self._do(partial(self._service.give, claimed.conversation_id, generation_id, title)):
                metrics.TITLE_SECONDS.observe(monotonic() - job.accepted_at)
        except DatabaseDown as error:
            _log.warning("title not written", action="title", error=error.detail)
        except Exception:
            _log.exception("title failed", action="title")

    def _may_call(self, wanted: Untitled, provider: Provider) -> bool:
        # Programs that use this service as a provider pay for each call, and show no titles.
        by_model = self._by == "model" and not isinstance(provider, Offline)
        return by_model and not wanted.by_program and len(self._tasks) <= MOST_CALLS

    async def _from_model(self, job: _Job, wanted: Untitled) -> str:
        """The title that the model gives; empty when it gives none in time. The usage is counted for the user."""
        said, began, outcome, reason = "", monotonic(), "complete", ""
        usage: Usage | None = None
        chars, failure = 0, None

        def receive(pieces: list[Piece]) -> None:
            nonlocal said, usage, chars, reason
            chars += sum(len(piece.text) for piece in pieces if isinstance(piece, (Text, Thought)))
            said += "".join(piece.text for piece in pieces if isinstance(piece, Text))
            if isinstance(pieces[-1], Finished):
                usage, reason = pieces[-1].usage, pieces[-1].finish_reason
            if len(said) > MOST_CHARACTERS:
                raise _TooLong

        claimed = job.claimed
        prompt = Prompt(job.model, (ChatMessage("user", titles.request(wanted.message)),))
        try:
            async with asyncio.timeout(SECONDS):
                with job.trace.titling(job.upstream, prompt) as call:
                    await job.provider.stream(prompt, receive)
                    call.finished(Finished(reason, usage))
        except _TooLong:
            said, outcome = "", "too long"
        except ProviderError as error:
            said, usage, outcome, failure = "", error.usage, error.code, error
        except TimeoutError:
            said, outcome = "", "timeout"
        except asyncio.CancelledError:
            outcome = "released"
            raise
        finally:
            made = EndedCall(
                epoch=claimed.lease.epoch,
                model=claimed.model,
                seconds=monotonic() - began,
                is_visible=False,
                input_tokens=prompt_tokens(prompt),
                said_chars=chars,
                usage=usage,
                error=failure,
            )
            _log_call(wanted, made, outcome)
            self._count(claimed, made)
        # A reply that was cut off may be the beginning of the model's reasoning.
        return "" if reason == "length" else titles.from_answer(said)

    def _count(self, claimed: Claimed, call: EndedCall) -> None:
        """Begin to charge a call that has ended; a title never waits for it."""
        counted = record(1, call)["usage"]
        if counted is None:
            return
        charge = self._usage.charge(Call(claimed.user_id, claimed.key_id, claimed.model, counted))
        work = partial(charge.insist, CHARGE_SECONDS, self._leaving)
        written = asyncio.get_running_loop().run_in_executor(self._executor, copy_context().run, work)
        self._charges.add(written)
        written.add_done_callback(self._charges.discard)

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, copy_context().run, work)


def _log_call(wanted: Untitled, call: EndedCall, outcome: str) -> None:
    _log.info(
        "title requested",
        action="title",
        conversation_id=wanted.conversation_id,
        outcome=outcome,
        input_tokens=call.usage.input_tokens if call.usage else None,
        output_tokens=call.usage.output_tokens if call.usage else None,
        seconds=round(call.seconds, 3),
    )
