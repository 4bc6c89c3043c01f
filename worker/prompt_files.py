"""The files of a prompt: read when a provider is called, within bounds of bytes, characters and time.

A message has ids of files only, so that an attachment is there in whichever worker makes the answer. Each file becomes
its bytes, its text, or a sentence that says why neither is sent: the model can tell its user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any, Protocol, TypeVar

from app.domain.accepts import Accepts
from app.domain.backoff import Backoff
from app.domain.errors import NotFound, StoreDown
from app.domain.single_line import single_line
from app.files.errors import BytesMissing, FileTooLarge
from worker.blocking import Blocking
from worker.byte_room import ByteRoom
from worker.file_texts.reader import FileText, FileTexts
from worker.providers.base import ChatMessage, ProviderError
from worker.providers.parts import FilePart, Part
from worker.run_state import RunState

T = TypeVar("T")

# Seconds for which a storage that does not answer is tried again, and the pauses between two attempts.
STORAGE_SECONDS = 60.0
BACKOFF = Backoff(first=0.1, longest=2.0, jitter=0.5)
# The record of an attempt names so many files at most.
MOST_NAMED = 20
GONE = "it was deleted"
# Errors that do not pass. A conversation goes on without such a file.
LOST: dict[type[Exception], str] = {
    NotFound: GONE,
    BytesMissing: "its bytes are missing in the storage",
    FileTooLarge: "it is larger than a file may be (MAX_FILE_BYTES)",
}


class FileSource(Protocol):
    """The storage of files."""

    def read(self, user_id: str, file_id: str, most: int) -> bytes:
        """The bytes of a file of this user. Raises NotFound when it is gone, BytesMissing, FileTooLarge, StoreDown."""
        ...


@dataclass(frozen=True, slots=True)
class FileLimits:
    """The most bytes of one file, and the most bytes and characters of the files of one prompt.

    ``text_seconds``: the time in which texts of one prompt are read. ``wait_seconds``: the time that a prompt waits for
    memory that other prompts hold.
    """

    file_bytes: int
    prompt_bytes: int
    prompt_chars: int
    text_seconds: float
    wait_seconds: float


@dataclass(slots=True)
class _Texts:
    """The characters and the seconds that are left for texts of one prompt."""

    chars: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Sent:
    """A file as it is sent: its bytes, or a text in its place. ``form`` names it in the record of the attempt."""

    part: Part
    form: str
    note: dict[str, Any]


class PromptFiles:
    """Reads the files of prompts. Used from the process's loop only; ``executor`` has threads that wait for files."""

    def __init__(
        self,
        source: FileSource,
        texts: FileTexts,
        executor: Executor,
        blocking: Blocking,
        room: ByteRoom,
        limits: FileLimits,
    ) -> None:
        self._source = source
        self._texts = texts
        self._executor = executor
        self._blocking = blocking
        self._room = room
        self._limits = limits

    async def read(self, run: RunState, messages: Sequence[ChatMessage], accepts: Accepts) -> tuple[ChatMessage, ...]:
        """The messages with what is sent of their files. ``release`` gives the memory back.

        Raises ProviderError while the storage is away or other prompts hold the memory, and the reason of an
        interruption.
        """
        files = list(_newest_first(messages))
        if not files:
            return tuple(messages)
        sent = {_key(file): _left_out(file, GONE) for file in files if not file.file_id}
        files = [file for file in files if file.file_id]
        # Texts first: a run that holds the memory of its files waits for nothing.
        await self._read_texts(run, [file for file in files if not accepts.takes_as_it_is(file.media_type)], sent)
        await self._read_bytes(run, [file for file in files if accepts.takes_as_it_is(file.media_type)], sent)
        run.files = [_record(file, sent[_key(file)]) for file in files[:MOST_NAMED]]
        return tuple(_with(message, sent) for message in messages)

    def release(self, run: RunState) -> None:
        """Give the memory of a run's files back."""
        taken, run.file_bytes = run.file_bytes, 0
        if taken:
            self._room.give(taken)

    def close(self) -> None:
        """End the programs that read texts."""
        self._texts.close()

    async def _read_texts(self, run: RunState, files: Sequence[FilePart], sent: dict[str, _Sent]) -> None:
        left = _Texts(self._limits.prompt_chars, self._limits.text_seconds)
        for file in files:
            if file.is_image:
                sent[_key(file)] = _left_out(file, "this model takes no images of this kind")
            elif left.chars <= 0:
                most = self._limits.prompt_chars
                sent[_key(file)] = _left_out(file, f"the files before it have {most} characters (MAX_PROMPT_CHARS)")
            elif left.seconds <= 0:
                taken = f"took {self._limits.text_seconds:g} s (PROMPT_TEXT_SECONDS)"
                sent[_key(file)] = _left_out(file, f"reading the files before it {taken}")
            else:
                sent[_key(file)] = found = await self._text_of(run, file, left)
                left.chars -= len(found.part) if isinstance(found.part, str) else 0

    async def _text_of(self, run: RunState, file: FilePart, left: _Texts) -> _Sent:
        taken = await self._take(run, file.size)
        try:
            found, seconds = await self._do(run, partial(self._read_text, run.claimed.user_id, file))
        except tuple(LOST) as error:
            return _left_out(file, _lost(error))
        finally:
            self._room.give(taken)
        left.seconds -= seconds
        if found.trouble is not None:
            return _left_out(file, f"its text could not be read: {found.trouble}")
        text, is_cut = found.text[: left.chars], found.is_cut or len(found.text) > left.chars
        end = f"Only the first {len(text)} characters" if is_cut else "End"
        shown = f"[Text of the file {_name(file)}:]\n\n{text}\n\n[{end} of the file {_name(file)}.]"
        return _Sent(shown, "text", {"characters": len(text), **({"is_cut": True} if is_cut else {})})

    def _read_text(self, user_id: str, file: FilePart) -> tuple[FileText, float]:
        """The text of a file, and the seconds that reading it took. The storage is not counted."""
        data = self._source.read(user_id, file.file_id, self._limits.file_bytes)
        began = monotonic()
        return self._texts.read(data, file.media_type), monotonic() - began

    async def _take(self, run: RunState, wanted: int) -> int:
        """Take memory for files; the bytes that were taken. Raises ProviderError when others hold it for too long."""
        try:
            with run.waiting():
                async with asyncio.timeout(self._limits.wait_seconds):
                    return await self._room.take(wanted)
        except TimeoutError:
            message = "Other answers held the memory for files for too long (WORKER_FILE_BYTES)."
            raise ProviderError("file_unavailable", message, retryable=False, charged=False) from None

    async def _read_bytes(self, run: RunState, files: Sequence[FilePart], sent: dict[str, _Sent]) -> None:
        left, chosen = self._limits.prompt_bytes, []
        for file in files:
            if file.size > left:
                most = self._limits.prompt_bytes
                reason = f"the files of the conversation have more than {most} bytes (MAX_PROMPT_FILE_BYTES)"
                sent[_key(file)] = _left_out(file, reason)
                continue
            chosen.append(file)
            left -= file.size
        run.file_bytes += await self._take(run, self._limits.prompt_bytes - left)
        for file in chosen:
            try:
                data = await self._do(run, partial(self._source.read, run.claimed.user_id, file.file_id, file.size))
            except tuple(LOST) as error:
                sent[_key(file)] = _left_out(file, _lost(error))
                continue
            sent[_key(file)] = _Sent(replace(file, data=data), "bytes", {})

    async def _do(self, run: RunState, work: Callable[[], T]) -> T:
        """Run a call in a thread, with the lease kept. Raises an error of LOST, or ProviderError without a storage."""
        began, failures = monotonic(), 0
        while True:
            try:
                with run.waiting():
                    return await self._blocking.run_in(self._executor, run, work)
            except BytesMissing:
                raise
            except StoreDown:
                if monotonic() - began > STORAGE_SECONDS:
                    message = "An attached file could not be read: its storage does not answer."
                    raise ProviderError("file_unavailable", message, retryable=False, charged=False) from None
                with run.waiting():
                    await asyncio.sleep(BACKOFF.pause(failures))
                failures += 1


def _newest_first(messages: Sequence[ChatMessage]) -> Iterator[FilePart]:
    """Each file once; those of the newest message first, in their order."""
    seen: set[str] = set()
    for message in reversed(messages):
        for file in message.files:
            if _key(file) not in seen:
                seen.add(_key(file))
                yield file


def _with(message: ChatMessage, sent: dict[str, _Sent]) -> ChatMessage:
    if not message.parts:
        return message
    parts = (sent[_key(part)].part if isinstance(part, FilePart) else part for part in message.parts)
    return replace(message, parts=tuple(parts))


def _left_out(file: FilePart, reason: str) -> _Sent:
    return _Sent(f"[The file {_name(file)} is not here: {reason}.]", "nothing", {"reason": reason})


def _lost(error: Exception) -> str:
    return next(reason for kind, reason in LOST.items() if isinstance(error, kind))


def _record(file: FilePart, sent: _Sent) -> dict[str, Any]:
    return {"file_id": file.file_id, "filename": file.filename, "as": sent.form, **sent.note}


def _key(file: FilePart) -> str:
    """The file; an imported one that was gone has its name only."""
    return file.file_id or f"gone {file.filename}"


def _name(file: FilePart) -> str:
    return f"“{single_line(file.filename)}”"
