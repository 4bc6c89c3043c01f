"""One round of tool calls: known in both stores before they run, and their results before the model reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from app.domain.events import Tool
from worker import toolbox
from worker.draft import Draft
from worker.drafts import Drafts
from worker.run_state import RunState
from worker.toolbox import Toolbox


class ToolRounds:
    """Runs the tool calls of a process's answers."""

    def __init__(self, drafts: Drafts, tools: Toolbox) -> None:
        self._drafts = drafts
        self._tools = tools

    async def run(self, run: RunState, draft: Draft, calls: Sequence[Tool], may_call: bool) -> None:
        """Run tool calls side by side, or refuse them all; their results are in PostgreSQL when this returns."""
        if not calls:
            return
        for call in calls:
            draft.add(call)
        self._drafts.outbox.touch(draft)
        # A takeover must know of every call that may have run: it is saved before it runs.
        await self._drafts.save(run, draft)
        run.check()
        if may_call:
            with run.waiting():
                results = await asyncio.gather(*[self._run_one(run, call) for call in calls])
        else:
            results = [replace(call, state="failed", result=toolbox.TOO_MANY, extra=None) for call in calls]
        for result in results:
            draft.add(result)
        self._drafts.outbox.touch(draft)
        await self._drafts.save(run, draft)
        run.check()

    async def _run_one(self, run: RunState, call: Tool) -> Tool:
        with run.trace.running(call) as ended:
            ended.append(await self._tools.run(call))
        return ended[0]
