"""Starts the program that reads the text of a file, and caches texts and, for some time, the reasons for none.

A call blocks a thread for at most ``seconds``; the program is killed then.
"""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from pathlib import Path
from threading import Lock
from time import monotonic

import orjson

from app.domain.file_kinds import is_text
from worker.file_texts import child

# Memory and unpacked size of a file that is read, in bytes.
MEMORY_BYTES = 1_073_741_824
UNPACKED_BYTES = 268_435_456
# Characters of cached texts in this process. A conversation sends its files with each message.
CACHED_CHARS = 16_000_000
CACHED_FILES = 1000
# Seconds for which a file that could not be read is not read again. The machine may have been busy only.
TROUBLE_SECONDS = 600.0
_PROGRAM = Path(child.__file__)


@dataclass(frozen=True, slots=True)
class FileText:
    """The text of a file. ``trouble`` is the reason of a file without text that could be read."""

    text: str = ""
    is_cut: bool = False
    trouble: str | None = None


class FileTexts:
    """Reads texts of files, at most ``most_chars`` characters of ``most_pages`` pages each. Any thread may use it."""

    def __init__(self, most_chars: int, most_pages: int, seconds: float) -> None:
        self._most_chars = most_chars
        self._most_pages = most_pages
        self._seconds = seconds
        self._lock = Lock()
        # With the times until which they count, by the monotonic clock.
        self._cached: OrderedDict[tuple[bytes, str], tuple[FileText, float]] = OrderedDict()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._is_closed = False

    def read(self, data: bytes, media_type: str) -> FileText:
        """The text of a file. Nothing is raised: a file that cannot be read has its trouble."""
        if is_text(media_type):
            return self._plain(data)
        key = (sha256(data).digest(), media_type)
        with self._lock:
            known, until = self._cached.get(key, (None, 0.0))
            if known is not None and monotonic() < until:
                self._cached.move_to_end(key)
                return known
        found = self._run(data, media_type)
        self._keep(key, found)
        return found

    def close(self) -> None:
        """End the programs that are running."""
        with self._lock:
            self._is_closed = True
            for running in self._children:
                running.kill()

    def _plain(self, data: bytes) -> FileText:
        # A character has at most four bytes.
        most = self._most_chars * 4
        encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
        text = data[:most].decode(encoding, "replace").replace("\0", "")
        cut = text[: self._most_chars]
        return FileText(cut, is_cut=len(cut) < len(text) or len(data) > most)

    def _run(self, data: bytes, media_type: str) -> FileText:
        limits = (self._most_chars, self._most_pages, UNPACKED_BYTES, int(self._seconds) + 1, MEMORY_BYTES)
        command = [sys.executable, "-I", "-B", str(_PROGRAM), media_type, *map(str, limits)]
        running = subprocess.Popen(  # the arguments are ours, and there is no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,
        )
        with self._lock:
            self._children.add(running)
            if self._is_closed:
                running.kill()
        try:
            output, _ = running.communicate(data, self._seconds)
            found = orjson.loads(output)
            return FileText(**found)
        except subprocess.TimeoutExpired:
            return FileText(trouble=f"it took more than {self._seconds:g} s to read it (FILE_TEXT_SECONDS)")
        except (orjson.JSONDecodeError, TypeError):
            return FileText(trouble="reading it took too much time or memory")
        finally:
            running.kill()
            running.wait()
            with self._lock:
                self._children.discard(running)

    def _keep(self, key: tuple[bytes, str], found: FileText) -> None:
        until = inf if found.trouble is None else monotonic() + TROUBLE_SECONDS
        with self._lock:
            self._cached[key] = (found, until)
            self._cached.move_to_end(key)
            while self._is_full():
                self._cached.popitem(last=False)

    def _is_full(self) -> bool:
        chars = sum(len(found.text) for found, _ in self._cached.values())
        return len(self._cached) > CACHED_FILES or chars > CACHED_CHARS
