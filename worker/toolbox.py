"""The tools of a process: offered to models, run in threads within their time, and replayed after a takeover.

A call has three states in the log: started, finished, failed. It is started in both stores before it runs, and its
result is in PostgreSQL before the model reads it; so whoever takes over knows of every call that may have run. One
that was started and has no result is not run again: the model is told that nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import structlog

from app.domain.events import SnapshotReason, Tool
from app.domain.transcript import Transcript
from worker.providers.base import ChatMessage, Prompt, Provider, ToolCall, ToolDelta, function_names
from worker.tools.function import FunctionTool, ToolError

# How long one call may take, and how many run at the same time; a call that waits for a thread is on the clock too.
TOOL_SECONDS = 30.0
TOOL_THREADS = 32
# How often the model may call tools in one answer. Afterwards it has to answer with what it has.
MOST_ROUNDS = 8

UNCONFIRMED = "It is not known whether this call took effect: its worker was lost. It was not repeated."
TOO_MANY = "Not run: too many tool calls in one answer."

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Question:
    """What a provider is asked. ``said``: the conversation up to the answer; ``ours``: the tools that are run here.

    ``rounds``: how often the model has called them since the revision began.
    """

    prompt: Prompt
    said: tuple[ChatMessage, ...]
    ours: frozenset[str]
    rounds: int = 0

    @property
    def may_call(self) -> bool:
        """Whether the model may have tools run."""
        return self.rounds < MOST_ROUNDS

    def again(self, answer: Transcript) -> Question:
        """The same with the results of the calls in ``answer``."""
        before, _ = replay(answer)
        parameters = dict(self.prompt.parameters)
        if self.rounds + 1 == MOST_ROUNDS:
            parameters["tool_choice"] = "none"
        prompt = replace(self.prompt, messages=(*self.said, *before), parameters=parameters, prefix="")
        return replace(self, prompt=prompt, rounds=self.rounds + 1)


class Toolbox:
    """Runs tools. Used from one loop; the functions run in threads."""

    def __init__(self, tools: Mapping[str, FunctionTool], seconds: float = TOOL_SECONDS) -> None:
        self._tools = tools
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(TOOL_THREADS, thread_name_prefix="tools")

    def ours(self, named: Iterable[str], parameters: Mapping[str, Any]) -> frozenset[str]:
        """Those of a model's tools that are run here. One the client brings under the same name is the client's."""
        return frozenset(name for name in named if name in self._tools) - set(function_names(parameters))

    def offer(self, ours: Iterable[str], parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a request that offers these tools beside those of the client."""
        schemas = [self._tools[name].schema for name in sorted(ours)]
        if not schemas:
            return dict(parameters)
        theirs = parameters.get("tools")
        return {**parameters, "tools": [*(theirs if isinstance(theirs, list) else []), *schemas]}

    async def run(self, call: Tool) -> Tool:
        """The call with its result. It does not fail: what went wrong is the result."""
        loop = asyncio.get_running_loop()
        try:
            doing = loop.run_in_executor(self._threads, self._tools[call.tool].call, call.arguments)
            result = await asyncio.wait_for(doing, self._seconds)
        except ToolError as error:
            return replace(call, state="failed", result=str(error))
        except TimeoutError:
            return replace(call, state="failed", result=f"The tool did not answer within {self._seconds:g} seconds.")
        except Exception as error:
            _log.warning("tool failed", action="tool", tool=call.tool, error=repr(error)[:300])
            return replace(call, state="failed", result="The tool failed.")
        return replace(call, state="finished", result=result)


def named(calls: Iterable[ToolDelta], known: Mapping[str, Tool]) -> list[Tool]:
    """What the model asked for, as calls that have begun, each under an id of its own in this answer."""
    begun: dict[str, Tool] = {}
    for call in calls:
        call_id = call.call_id or f"call_{len(known) + len(begun)}"
        while call_id in known or call_id in begun:
            call_id += "-again"
        begun[call_id] = Tool(call_id, call.name or "", "started", call.arguments)
    return list(begun.values())


def replay(said: Transcript) -> tuple[list[ChatMessage], str]:
    """The answer so far as messages, with every call and its result; and the text behind the last call."""
    text, begin = said.text, 0
    messages: list[ChatMessage] = []
    for end in sorted({said.places[call_id] for call_id in said.tools}):
        calls = [call for call in said.tools.values() if said.places[call.call_id] == end]
        asked = tuple(ToolCall(call.call_id, call.tool, call.arguments or "{}") for call in calls)
        messages.append(ChatMessage("assistant", text[begin:end], asked))
        messages += [ChatMessage("tool", call.result or "", tool_call_id=call.call_id) for call in calls]
        begin = end
    return messages, text[begin:]


def plan(said: Transcript, provider: Provider, policy: Sequence[str]) -> tuple[SnapshotReason | None, str]:
    """How to go on with an answer that has called tools of ours, and how much of its text is kept.

    Whatever becomes of the text behind the last call, what was called before it is not called again.
    """
    _, behind = replay(said)
    kept = said.text[: len(said.text) - len(behind)]
    if not behind:
        return "takeover", kept
    for choice in policy:
        if choice == "continue" and provider.continues:
            return "continue", said.text
        if choice == "restart":
            return "restart", kept
        if choice == "error":
            return None, said.text
    return None, said.text


def settled(calls: Iterable[Tool]) -> list[Tool]:
    """The calls of an earlier revision as they are to be seen in the next one: none of them is open any more."""
    return [replace(c, state="failed", result=UNCONFIRMED) if c.state == "started" else c for c in calls]
