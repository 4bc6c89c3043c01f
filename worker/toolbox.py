"""The tools of a process: offered to models, run in threads within their time, and replayed after a takeover.

A call has three states in the log: started, finished, failed. It is started in both stores before it runs, and its
result is in PostgreSQL before the model reads it, so a takeover finds every call that may have run. A call
that was started and has no result is not run again: the model reads that its effect is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

import structlog

from app.domain.events import SnapshotReason, Tool, ToolState
from app.domain.transcript import CallPlace, Transcript
from worker.providers.base import ChatMessage, KnownRun, Prompt, Provider, ToolCall, ToolDelta, function_names
from worker.providers.chat.history import normal
from worker.tools.function import FunctionTool, ToolError

# Seconds that one call may take, with its wait for a thread, and the most calls at the same time.
TOOL_SECONDS = 30.0
TOOL_THREADS = 32
# The most rounds of tool calls in one answer. After them the model has to answer without tools.
MOST_ROUNDS = 8

UNCONFIRMED = "It is not known whether this call took effect: its worker was lost. It was not repeated."
TOO_MANY = "Not run: too many tool calls in one answer."

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A request to a provider. ``said``: the conversation up to the answer; ``ours``: the tools that are run here.

    ``upstream``: the name of the provider. ``known``: the run of the call, where an earlier worker has begun one.
    ``rounds``: how often the model has called them since the revision began.
    """

    prompt: Prompt
    said: tuple[ChatMessage, ...]
    ours: frozenset[str]
    upstream: str
    known: KnownRun | None = None
    rounds: int = 0

    @property
    def may_call(self) -> bool:
        """True while the model may call tools."""
        return self.rounds < MOST_ROUNDS

    def goes_on(self, calls: Sequence[ToolDelta]) -> bool:
        """True for calls of which the client, or the next request, has the results: the text is no answer yet."""
        return any(self.may_call or call.name not in self.ours for call in calls)

    def with_results(self, answer: Transcript) -> ProviderRequest:
        """The next request, with the results of the calls in ``answer``."""
        before, _ = replay(answer)
        parameters = dict(self.prompt.parameters)
        if self.rounds + 1 == MOST_ROUNDS:
            parameters["tool_choice"] = "none"
        messages = normal((*self.said, *before), function_names(parameters))
        prompt = replace(self.prompt, messages=messages, parameters=parameters, prefix="")
        return replace(self, prompt=prompt, known=None, rounds=self.rounds + 1)


class Toolbox:
    """Runs tools. Used from one loop; the functions run in threads."""

    def __init__(self, tools: Mapping[str, FunctionTool], seconds: float = TOOL_SECONDS) -> None:
        self._tools = tools
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(TOOL_THREADS, thread_name_prefix="tools")

    def ours(self, named: Iterable[str], parameters: Mapping[str, Any]) -> frozenset[str]:
        """The tools of a model that are run here. A tool of the client with the same name takes precedence."""
        return frozenset(name for name in named if name in self._tools) - set(function_names(parameters))

    def offer(self, ours: Iterable[str], parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a request that offers these tools beside those of the client."""
        schemas = [self._tools[name].schema for name in sorted(ours)]
        if not schemas:
            return dict(parameters)
        theirs = parameters.get("tools")
        return {**parameters, "tools": [*(theirs if isinstance(theirs, list) else []), *schemas]}

    async def run(self, call: Tool) -> Tool:
        """Run a call; the call with its result. A failure is a result too: nothing is raised."""
        loop = asyncio.get_running_loop()
        try:
            doing = loop.run_in_executor(self._threads, copy_context().run, self._tools[call.tool].call, call.arguments)
            result = await asyncio.wait_for(doing, self._seconds)
        except ToolError as error:
            return _ended(call, "failed", str(error))
        except TimeoutError:
            return _ended(call, "failed", f"The tool did not answer within {self._seconds:g} seconds.")
        except Exception as error:
            _log.warning("tool failed", action="tool", tool=call.tool, error=repr(error)[:300])
            return _ended(call, "failed", "The tool failed.")
        return _ended(call, "finished", result)


def named(calls: Iterable[ToolDelta], known: Mapping[str, Tool]) -> list[Tool]:
    """The calls of a reply as started calls, each under an id of its own in this answer.

    Some upstreams send no arguments for a tool without parameters; everyone else receives an empty object.
    """
    begun: dict[str, Tool] = {}
    for call in calls:
        call_id = call.call_id or f"call_{len(known) + len(begun)}"
        while call_id in known or call_id in begun:
            call_id += "-again"
        arguments = call.arguments if call.arguments.strip() else "{}"
        extra = dict(call.extra) if call.extra else None
        begun[call_id] = Tool(call_id, call.name or "", "started", arguments, extra=extra)
    return list(begun.values())


def replay(said: Transcript) -> tuple[list[ChatMessage], str]:
    """The answer so far as messages, with every call and its result; and the text behind the last call.

    Calls that were made together, and the text and the reasoning before them, are one message.
    """
    text, reasoning = said.text, said.reasoning
    at, thought = 0, 0
    messages: list[ChatMessage] = []
    in_order = sorted(said.tools.values(), key=lambda call: said.places[call.call_id].round)
    for _, group in groupby(in_order, lambda call: said.places[call.call_id].round):
        calls = list(group)
        place = said.places[calls[0].call_id]
        asked = tuple(ToolCall(call.call_id, call.tool, call.arguments or "{}", call.extra) for call in calls)
        before = reasoning[thought : place.reasoning]
        messages.append(ChatMessage("assistant", text[at : place.text], asked, reasoning=before))
        messages += [ChatMessage("tool", call.result or "", tool_call_id=call.call_id) for call in calls]
        at, thought = place.text, place.reasoning
    return messages, text[at:]


class Kept(NamedTuple):
    """The text and the reasoning of an answer that its next revision begins with."""

    text: str = ""
    reasoning: str = ""


def plan(said: Transcript, provider: Provider, policy: Sequence[str]) -> tuple[SnapshotReason | None, Kept]:
    """The reason of the next revision of an answer that has called tools of ours, and the text that it keeps.

    Whatever becomes of the text behind the last call, what was called before it is not called again. Reasoning alone is
    not continued: the next call reasons anew.
    """
    whole = Kept(said.text, said.reasoning)
    last = max((said.places[call_id] for call_id in said.tools), default=CallPlace(0, 0, 0))
    has_text = len(said.text) > last.text
    if not has_text and len(said.reasoning) == last.reasoning:
        return "takeover", whole
    for choice in policy:
        if choice == "continue" and provider.continues and has_text:
            return "continue", whole
        if choice == "restart":
            return "restart", Kept(said.text[: last.text], said.reasoning[: last.reasoning])
        if choice == "error":
            return None, whole
    return None, whole


def settled(calls: Iterable[Tool]) -> list[Tool]:
    """The calls of an earlier revision as the next one has them: those without a result have failed as unconfirmed."""
    return [replace(c, state="failed", result=UNCONFIRMED) if c.state == "started" else c for c in calls]


def _ended(call: Tool, state: ToolState, result: str) -> Tool:
    """The end of a call. Its extra is in the event of its beginning."""
    return replace(call, state=state, result=result, extra=None)
