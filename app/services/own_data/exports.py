"""Everything of a user in one archive, read in pages: no transaction is open while a client receives.

Larger exports have several archives. Each is whole, and its manifest says where the next one goes on.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from threading import BoundedSemaphore
from time import monotonic
from typing import Any
from uuid import UUID

import orjson

from app.domain.audit import Actor
from app.domain.commands import User
from app.domain.errors import LogDown, MalformedInput, Overloaded
from app.eventlog.expiring_members import ExpiringMembers
from app.files.storage import Storage
from app.services.own_data.archive import Archive, line_of
from app.services.own_data.contents import Contents
from app.services.users import new_id
from app.store import audit
from app.store.database import Database
from app.store.own_data import FILES, SECTIONS, Exported, Key, KeyType, Section

FORMAT = "unbroken.export"
VERSION = 1
# Seconds between two renewals of the place of a running export.
RENEW_SECONDS = 20.0


class ExportRunning(Overloaded):
    """An export of your data is running already; wait for its end."""


class Exports:
    """Exports of users' data. An archive has up to ``most_bytes`` of JSON and files, or one of them that is larger.

    A user has one running export over all processes, and a process runs ``at_once``.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        running: ExpiringMembers,
        most_bytes: int,
        at_once: int,
        sections: Sequence[Section] = SECTIONS,
    ) -> None:
        self._database = database
        self._storage = storage
        self._running = running
        self._most_bytes = most_bytes
        self._at_once = at_once
        self._places = BoundedSemaphore(at_once)
        self._sections = sections

    def begin(self, user: User, after: str | None, actor: Actor) -> Iterator[bytes]:
        """The bytes of an archive of everything behind ``after``, a manifest's ``next``; None: from the beginning.

        The place of the export is released when the iterator ends or is closed. Raises MalformedInput, ExportRunning,
        Overloaded, LogDown.
        """
        start = _read_position(after, self._sections) if after is not None else None
        place = self._reserve(user)
        pieces = self._pieces(user, start, place, actor)
        next(pieces)  # from here on, closing the iterator releases the place
        return pieces

    def _reserve(self, user: User) -> str:
        if not self._places.acquire(blocking=False):
            raise Overloaded(f"No more than {self._at_once} exports run here at once (MAX_EXPORTS_AT_ONCE).")
        place = new_id()
        try:
            if self._running.reserve(user.id, place, 1)():
                return place
            raise ExportRunning
        except BaseException:
            self._places.release()
            raise

    def _pieces(self, user: User, start: tuple[str, Key | None] | None, place: str, actor: Actor) -> Iterator[bytes]:
        with self._held(user, place):
            if start is None:
                with self._database.user(user.id) as tx:
                    audit.record(tx, actor, "export.begun", "user", user.id)
            yield b""
            walk = _Walk(self._database, user, place, self._running, self._most_bytes)
            archive, contents = Archive(), Contents(self._storage, user.id)
            archive.text("README.txt", _readme(self._sections))
            for section in self._from(start):
                yield from archive.lines(f"{section.name}.jsonl", walk.lines(section, start))
                if walk.next:
                    break
            for piece in contents.write(archive, walk.stored):
                walk.renew()
                if piece:
                    yield piece
            head = {"format": FORMAT, "version": VERSION, "user_id": user.id, "made_at": datetime.now(UTC)}
            parts = {"files": archive.files, "contents": contents.entries}
            manifest = {**head, "complete": walk.next is None, "next": walk.next, **parts}
            archive.text("manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z))
            yield archive.close()

    @contextmanager
    def _held(self, user: User, place: str) -> Iterator[None]:
        try:
            yield
        finally:
            self._places.release()
            with suppress(LogDown):  # then the place expires
                self._running.renew(user.id, [], [place])

    def _from(self, start: tuple[str, Key | None] | None) -> Sequence[Section]:
        names = [section.name for section in self._sections]
        return self._sections[names.index(start[0]) if start else 0 :]


class _Walk:
    """Reads the rows of one archive. ``next`` is the position behind its last row; None while everything fits.

    ``stored`` are the rows of its files whose bytes belong into it.
    """

    def __init__(self, database: Database, user: User, place: str, running: ExpiringMembers, most: int) -> None:
        self._database = database
        self._user = user
        self._place = place
        self._running = running
        self._left = most
        self._is_empty = True
        self._renewed = monotonic()
        self.next: str | None = None
        self.stored: list[dict[str, Any]] = []

    def lines(self, section: Section, start: tuple[str, Key | None] | None) -> Iterator[bytes]:
        """The lines of a section, behind ``start`` where that is in it, until the archive is full."""
        key = start[1] if start and start[0] == section.name else None
        while page := self._page(section, key):
            for found in page:
                line = line_of(found.row)
                has_bytes = section.name == FILES and found.row["status"] == "ready"
                size = len(line) + (found.row["bytes"] if has_bytes else 0)
                if size > self._left and not self._is_empty:
                    self.next = _write_position(section.name, key)
                    return
                self._left -= size
                self.stored += [found.row] if has_bytes else []
                self._is_empty = False
                yield line
                key = found.key

    def renew(self) -> None:
        """Keep the place of the export, when it is time for that."""
        if monotonic() - self._renewed > RENEW_SECONDS:
            self._renewed = monotonic()
            with suppress(LogDown):
                self._running.renew(self._user.id, [self._place])

    def _page(self, section: Section, key: Key | None) -> list[Exported]:
        self.renew()
        with self._database.user(self._user.id) as tx:
            return section.read(tx, self._user.id, key)


def _write_position(name: str, key: Key | None) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([name, key])).decode().rstrip("=")


def _read_position(text: str, sections: Sequence[Section]) -> tuple[str, Key | None]:
    """Raises MalformedInput."""
    try:
        name, key = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        kinds = {section.name: section.key for section in sections}[name]
        if key is not None:
            for kind, part in zip(kinds, key, strict=True):
                _PARSERS[kind](_text(part))
        return name, key
    except (ValueError, TypeError, LookupError, OverflowError, binascii.Error):
        raise MalformedInput("This is not the position of an export.", "after") from None


def _text(part: object) -> str:
    if not isinstance(part, str) or "\0" in part:
        raise ValueError
    return part


def _read_uuid(text: str) -> None:
    if str(UUID(text)) != text.lower():
        raise ValueError


# PostgreSQL knows no weeks of ISO 8601.
def _read_date(text: str) -> None:
    if "W" in text:
        raise ValueError
    date.fromisoformat(text)


def _read_time(text: str) -> None:
    if "W" in text:
        raise ValueError
    datetime.fromisoformat(text).astimezone(UTC)


# Each raises ValueError, TypeError or OverflowError for a text that PostgreSQL would refuse as this type.
_PARSERS: dict[KeyType, Callable[[str], object]] = {
    "uuid": _read_uuid,
    "timestamptz": _read_time,
    "date": _read_date,
    "text": str,
}


def _readme(sections: Sequence[Section]) -> bytes:
    about = "\n".join(f"{section.name}.jsonl\n    {section.about}" for section in sections)
    return _README.format(about=about).encode()


_README = """This archive has everything that the service keeps of you, one JSON object in each line of a file.
Times are in UTC. An id in one file names a row of another one.

{about}

files/
    The contents of your files, each in a folder with its id. In manifest.json, "contents" has the SHA-256 of each,
    and the reason where one is missing.

manifest.json
    The number of rows and the SHA-256 of each file of rows. When "complete" is false, there was more than fits into one
    archive: request the next one with ?after= and the value of "next".
"""
