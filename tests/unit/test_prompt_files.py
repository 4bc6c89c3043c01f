"""The files of a prompt: one that cannot be read is named in it, and reading has bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import cast

import pytest

from app.domain.accepts import Accepts
from app.domain.errors import NotFound
from app.domain.lease import Claimed, Lease
from app.files.errors import BytesMissing, FileTooLarge
from app.services.leases import Leases
from worker.blocking import Blocking, LeaseKeeper
from worker.byte_room import ByteRoom
from worker.file_texts.child import PDF
from worker.file_texts.reader import FileTexts
from worker.generation_trace import GenerationTraces
from worker.prompt_files import GONE, FileLimits, PromptFiles
from worker.providers.base import ChatMessage, ProviderError
from worker.providers.parts import FilePart, Part
from worker.run_state import RunState

LIMITS = FileLimits(1000, 1000, 1000, 60.0, 60.0)
WHOLE, TEXT = Accepts(images=True, files=True), Accepts(images=False, files=False)
CLAIMED = Claimed(Lease("g", 1), "u", "c", "m", "q", "model", {}, [], 1, False, None, 10.0, None)


class InMemory:
    """A storage of files; an error in place of bytes is raised. ``reads`` has the ids in their order."""

    def __init__(self, **files: bytes | Exception) -> None:
        self._files = files
        self.reads: list[str] = []

    def read(self, user_id: str, file_id: str, most: int) -> bytes:
        self.reads.append(file_id)
        found = self._files[file_id]
        if isinstance(found, Exception):
            raise found
        return found


def pdf(file_id: str) -> FilePart:
    return FilePart(file_id, f"{file_id}.pdf", PDF, 10)


async def parts_of(
    source: InMemory,
    files: Sequence[FilePart],
    accepts: Accepts = TEXT,
    limits: FileLimits = LIMITS,
    room: ByteRoom | None = None,
) -> tuple[Part, ...]:
    """The parts of a message with these files, as a model with ``accepts`` gets them."""
    run = RunState(CLAIMED, GenerationTraces("w", ()).claimed(CLAIMED, 0), asked_at=0.0, hesitated=False)
    with ThreadPoolExecutor(1) as pool:
        # No lease is renewed: the keeper is not started.
        blocking = Blocking(pool, pool, LeaseKeeper(cast(Leases, None), pool, 1.0))
        # No program has time to read a text.
        texts = FileTexts(most_chars=100, most_pages=1, seconds=0)
        reader = PromptFiles(source, texts, pool, blocking, room or ByteRoom(1000), limits)
        [message] = await reader.read(run, [ChatMessage("user", "", parts=tuple(files))], accepts)
        reader.release(run)
    return message.parts


@pytest.mark.parametrize("accepts", [WHOLE, TEXT])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotFound(), GONE),
        (BytesMissing(), "its bytes are missing in the storage"),
        (FileTooLarge(1, "file"), "MAX_FILE_BYTES"),
    ],
)
def test_a_file_that_is_lost_is_named_and_not_tried_again(error: Exception, reason: str, accepts: Accepts) -> None:
    source = InMemory(lost=error)
    [told] = asyncio.run(parts_of(source, [pdf("lost")], accepts))
    assert isinstance(told, str)
    assert "“lost.pdf” is not here" in told
    assert reason in told
    assert source.reads == ["lost"]


def test_the_texts_of_one_prompt_have_so_many_seconds_together() -> None:
    source = InMemory(slow=b"%PDF-1.4 a", late=b"%PDF-1.4 b")
    limits = replace(LIMITS, text_seconds=1e-9)
    slow, late = asyncio.run(parts_of(source, [pdf("slow"), pdf("late")], limits=limits))
    assert "FILE_TEXT_SECONDS" in str(slow)
    assert "“late.pdf” is not here: reading the files before it took" in str(late)
    assert "PROMPT_TEXT_SECONDS" in str(late)
    assert source.reads == ["slow"]


@pytest.mark.parametrize("accepts", [WHOLE, TEXT])
def test_a_prompt_waits_for_the_memory_of_others_for_a_bounded_time(accepts: Accepts) -> None:
    source = InMemory(a=b"%PDF-1.4")

    async def run() -> ProviderError:
        room = ByteRoom(10)
        taken = await room.take(10)
        with pytest.raises(ProviderError, match="WORKER_FILE_BYTES") as raised:
            await parts_of(source, [pdf("a")], accepts, replace(LIMITS, wait_seconds=0.01), room)
        room.give(taken)
        # The one that gave up holds nothing, and nobody waits behind it.
        assert await room.take(10) == 10
        return raised.value

    assert asyncio.run(run()).code == "file_unavailable"
    assert source.reads == []
