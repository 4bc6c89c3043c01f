"""Upstreams that never end, read at once by one process: the memory of the provider's own buffers is bounded."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import uvloop

from app.domain.upstreams import Upstream
from tests.fakes.raw_server import RawServer
from tests.faults.test_endless_upstreams import ENDLESS, serve
from worker.calls import Calls
from worker.limits import Limits
from worker.providers.base import AnswerTooLarge, ChatMessage, Finished, Piece, Prompt, Text, Thought, ToolDelta
from worker.providers.chat.provider import OpenAICompatible

# Memory of 18 simultaneous answers and of the server's threads. The buffers alone take some 20 MB.
MOST_KB = 60_000
# The text itself is not kept here; small limits end the answers soon and change no buffer.
LIMITS = Limits(answer_chars=300_000, tool_argument_chars=200_000)


def memory_kb(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


class Listener:
    """Counts the characters that a provider sends, and refuses those beyond a limit, like the worker."""

    def __init__(self) -> None:
        self._chars = 0
        self._calls = Calls(LIMITS)

    def emit(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, ToolDelta):
                self._calls.add(piece)
            elif isinstance(piece, (Text, Thought)):
                self._chars += len(piece.text)
                if self._chars > LIMITS.answer_chars:
                    raise LIMITS.exceeded("answer_chars")
            elif isinstance(piece, Finished) and len(piece.finish_reason) > LIMITS.name_chars:
                raise LIMITS.exceeded("name_chars")


def test_the_buffers_of_all_kinds_of_endless_answers_at_once_are_small() -> None:
    async def read(provider: OpenAICompatible, name: str) -> Exception | None:
        try:
            await provider.stream(Prompt(name, (ChatMessage("user", "x"),)), Listener().emit)
        except AnswerTooLarge as error:
            return error
        return None

    async def read_all(origin: str) -> list[Exception | None]:
        provider = OpenAICompatible(Upstream("openai", "openai", f"{origin}/v1"), LIMITS)
        try:
            await read(provider, "finish")
            Path("/proc/self/clear_refs").write_text("5")
            return await asyncio.gather(*(read(provider, name) for name in ENDLESS))
        finally:
            await provider.close()

    with RawServer(serve) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        before = memory_kb("VmRSS")
        ends = runner.run(read_all(server.origin))
    assert all(isinstance(end, AnswerTooLarge) for end in ends), dict(zip(ENDLESS, ends, strict=True))
    assert memory_kb("VmHWM") - before < MOST_KB
