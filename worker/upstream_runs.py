"""The runs that upstreams keep: stored before any of their text is shown, and read on by the worker that takes over.

A run's text is the same whenever it is read, and its place in the answer is stored with its id. So a takeover needs no
further position: of the run's text, readers have seen what the answer has behind that place.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from app.domain.backoff import Backoff
from app.domain.errors import DatabaseDown
from app.domain.events import SnapshotReason
from app.domain.lease import Claimed
from app.domain.transcript import Transcript
from app.domain.upstreams import UpstreamRun
from app.services.leases import Leases
from worker.blocking import Blocking
from worker.draft import Draft
from worker.drafts import Drafts
from worker.providers.base import Emit, KnownRun, Provider, ProviderError, RunKeeper
from worker.providers.registry import Providers, UnknownProvider
from worker.run_state import RunState
from worker.toolbox import ProviderRequest

# Pauses between two attempts to store a run, in seconds.
BACKOFF = Backoff(first=0.1, longest=2.0, jitter=0.5)


class UpstreamRuns:
    """The runs of a process's answers at their upstreams. Used from the process's loop only."""

    def __init__(self, leases: Leases, blocking: Blocking, drafts: Drafts, providers: Providers) -> None:
        self._leases = leases
        self._blocking = blocking
        self._drafts = drafts
        self._providers = providers
        self._cancelling: set[asyncio.Task[None]] = set()

    def known(self, run: RunState, said: Transcript, upstream: str, provider: Provider) -> KnownRun | None:
        """The run of the call that an earlier revision left; None: there is none to come back to.

        That call is not lost: its record is taken out of the attempts.
        """
        found = unfinished(run.claimed, said)
        if found is None or found.upstream != upstream or not isinstance(provider, RunKeeper):
            return None
        run.upstream_run = found
        run.attempts[:] = [made for made in run.attempts if made["attempt"] < found.attempt]
        return KnownRun(found.run_id, said.text[found.text_chars :], said.reasoning[found.reasoning_chars :])

    async def call(
        self, run: RunState, draft: Draft, provider: Provider, request: ProviderRequest, receive: Emit
    ) -> None:
        """Call a provider for an answer, to the end of its reply. Raises ProviderError, LeaseLost."""
        if not isinstance(provider, RunKeeper):
            await provider.stream(request.prompt, receive)
            return
        began = partial(self._began, run, draft, request.upstream)
        # Each run of an answer has a key of its own; a call whose run is not known is repeated under its key.
        runs = sum("run" in made for made in run.all_attempts)
        key = f"{run.claimed.lease.generation_id}-{runs}"
        await provider.run(request.prompt, receive, began, request.known, key)

    async def abandon(self, run: RunState, error: ProviderError) -> None:
        """Leave the run of a call that has failed: nobody comes back to it. Raises LeaseLost.

        After a takeover the run is another worker's: it must not be cancelled.
        """
        left, run.upstream_run = run.upstream_run, None
        if left is None:
            return
        forget = partial(self._leases.note_run, run.claimed.lease, None)
        await self._blocking.retry_while_db_down(run, forget)
        if error.code != "upstream_run_gone":
            self.cancel(left)

    def cancel(self, left: UpstreamRun | None) -> None:
        """Begin to cancel a run at its upstream."""
        with suppress(UnknownProvider):
            provider = self._providers.get(left.upstream) if left else None
            if left and isinstance(provider, RunKeeper):
                task = asyncio.ensure_future(provider.cancel_run(left.run_id))
                self._cancelling.add(task)
                task.add_done_callback(self._cancelling.discard)

    async def _began(self, run: RunState, draft: Draft, upstream: str, run_id: str) -> None:
        """Store the run that a call has begun, and the revision's events before it. Raises LeaseLost."""
        said = draft.transcript
        found = UpstreamRun(
            upstream, run_id, len(run.all_attempts) + 1, len(said.text), len(said.reasoning), len(said.tools)
        )
        run.upstream_run = found
        failures = 0
        while True:
            try:
                await self._blocking.run_blocking(partial(self._leases.note_run, run.claimed.lease, found))
                await self._drafts.save_once(draft)
                return
            except DatabaseDown:
                await asyncio.sleep(BACKOFF.pause(failures))
                failures += 1


def reason(said: Transcript) -> SnapshotReason:
    """The reason of a revision that comes back to a run: everything shown is kept. Pure."""
    return "continue" if said.text or said.reasoning or said.tools else "takeover"


def unfinished(claimed: Claimed, said: Transcript) -> UpstreamRun | None:
    """The run that belongs to the call that an answer was in when its worker left it. Pure.

    A call is over when its tool calls are in the answer, or when it is among the recorded attempts.
    """
    run = claimed.upstream_run
    if run is None or said.mark is not None or run.attempt <= len(claimed.attempts):
        return None
    has_place = len(said.text) >= run.text_chars and len(said.reasoning) >= run.reasoning_chars
    return run if has_place and len(said.tools) == run.tools else None
