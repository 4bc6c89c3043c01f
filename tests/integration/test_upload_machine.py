"""Uploads in parts beside a plain model: begun, filled, completed, cancelled, expired and swept, in any order."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from app.domain.errors import InvalidInput, NotFound, WrongState
from app.files.disk import DiskStorage
from app.files.limits import ContentLimits, FileLimits, UploadLimits
from app.files.staging import Staged
from app.services import file_sweep
from app.services.file_sweep import ENDED_UPLOAD_SECONDS, FileSweep
from app.services.files import Files, NewFile, NoRoomForFiles
from app.services.uploads import UPLOAD_SECONDS, TooManyParts, TooManyUploads, UploadEnded, Uploads, WrongOffset
from app.store import files as file_rows
from app.store.database import Database, execute
from dev.postgres import WEB
from tests.factories import add_user, owner
from tests.logins import as_login

ROOM, OPEN, PARTS = 40, 3, 4
PIECES = st.sampled_from((b"a", b"bc", b"defgh"))
MINUTES = st.sampled_from((1, 20, 20, 61))


@dataclass
class Known:
    """An upload of the model. Times are minutes of the model's clock. ``placed``: parts that were appended."""

    id: str
    size: int
    made: int
    status: str = "pending"
    placed: list[bytes] = field(default_factory=list)
    loose: dict[str, bytes] = field(default_factory=dict)
    is_swept: bool = False
    is_of_placed: bool = False  # completed with the parts that were appended

    @property
    def parts(self) -> list[bytes]:
        return [*self.placed, *self.loose.values()]

    @property
    def offset(self) -> int:
        return sum(map(len, self.placed))

    @property
    def taken(self) -> int:
        return max(self.size, sum(map(len, self.parts)))


class Machine(RuleBasedStateMachine):
    """One user's uploads. The clock goes on by making every row older."""

    url: str
    made = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        with owner(self.url) as cursor:
            self.user_id = add_user(cursor)
        self.folder = TemporaryDirectory(prefix="unbroken-machine-")
        storage = DiskStorage(Path(self.folder.name))
        # The web processes' login; the clock and the sweep need the workers'.
        self.database, self.workers = Database(as_login(self.url, WEB), 1), Database(self.url, 1)
        limits = FileLimits(1000, ContentLimits(1, 1), ROOM, 100, 0)
        self.files = Files(self.database, storage, limits)
        self.uploads = Uploads(self.database, self.files, UploadLimits(PARTS, OPEN), 1000)
        self.sweeper = FileSweep(self.workers, storage, 1e9, None)
        self.now = 0
        self.known: dict[str, Known] = {}
        self.contents: dict[str, bytes] = {}

    def teardown(self) -> None:
        self.database.close()
        self.workers.close()
        self.folder.cleanup()

    def _status(self, known: Known) -> str:
        has_expired = known.status == "pending" and self.now - known.made >= UPLOAD_SECONDS / 60
        return "expired" if has_expired else known.status

    def _pending(self) -> list[Known]:
        return [known for known in self.known.values() if self._status(known) == "pending"]

    def _used(self, besides: Known | None = None) -> int:
        ended = [known for known in self.known.values() if self._status(known) in ("cancelled", "expired")]
        left = sum(len(part) for known in ended for part in known.parts)
        return sum(map(len, self.contents.values())) + left + sum(k.taken for k in self._pending() if k is not besides)

    @rule(target=made, size=st.integers(2, 7))
    def create(self, size: int) -> Any:
        refusal: type[WrongState] | None = None
        if len(self._pending()) >= OPEN:
            refusal = TooManyUploads
        elif self._used() + size > ROOM:
            refusal = NoRoomForFiles
        if refusal:
            with pytest.raises(refusal):
                self.uploads.create(self.user_id, NewFile("a.txt", "user_data"), size)
            return multiple()
        made = self.uploads.create(self.user_id, NewFile("a.txt", "user_data"), size)
        self.known[made.id] = Known(made.id, size, self.now)
        return made.id

    def _refusal_of_part(self, known: Known, data: bytes, starts_at: int | None) -> type[Exception] | None:
        if self._status(known) != "pending":
            return UploadEnded
        if starts_at is not None and starts_at != known.offset:
            return WrongOffset
        if (starts_at or 0) + len(data) > known.size:
            return InvalidInput
        if len(known.parts) >= PARTS:
            return TooManyParts
        taken = max(known.size, sum(map(len, known.parts)) + len(data))
        return NoRoomForFiles if self._used(known) + taken > ROOM else None

    def _send(self, known: Known, data: bytes, starts_at: int | None) -> str | None:
        """Send a part; its id. None: it was refused, as the model says."""
        refusal = self._refusal_of_part(known, data, starts_at)
        with Staged(100, "data") as staged:
            staged.write(data)
            if refusal:
                with pytest.raises(refusal):
                    self.uploads.add_part(self.user_id, known.id, staged, starts_at)
                return None
            return self.uploads.add_part(self.user_id, known.id, staged, starts_at).id

    @rule(upload=made, data=PIECES, by=st.sampled_from((0, 0, 0, 0, -1, 1)))
    def append(self, upload: str, data: bytes, by: int) -> None:
        known = self.known.get(upload)
        if known and self._send(known, data, max(0, known.offset + by)):
            known.placed.append(data)

    @rule(upload=made, data=PIECES)
    def add(self, upload: str, data: bytes) -> None:
        known = self.known.get(upload)
        if known and (part := self._send(known, data, None)):
            known.loose[part] = data

    @rule(upload=made)
    def complete_appended(self, upload: str) -> None:
        known = self.known.get(upload)
        if known:
            self._complete(known, None, known.placed)

    @rule(upload=made, data=st.data())
    def complete_by_ids(self, upload: str, data: st.DataObject) -> None:
        known = self.known.get(upload)
        if known and known.loose:
            ids = data.draw(st.lists(st.sampled_from(sorted(known.loose)), min_size=1, unique=True))
            self._complete(known, ids, [known.loose[one] for one in ids])

    def _complete(self, known: Known, part_ids: list[str] | None, pieces: list[bytes]) -> None:
        whole = b"".join(pieces)
        if self._status(known) == "completed" and self.contents[known.id] == whole:
            return  # a repetition, or the same bytes in other parts
        if self._status(known) == "completed" and part_ids is None and known.is_of_placed:
            repeated = self.uploads.complete(self.user_id, known.id, None, None)
            assert repeated.upload.status == "completed", "also once the parts are gone"
            return
        refusal: type[Exception] | None = None
        if self._status(known) != "pending":
            refusal = UploadEnded
        elif len(whole) != known.size:
            refusal = InvalidInput
        if refusal:
            with pytest.raises(refusal):
                self.uploads.complete(self.user_id, known.id, part_ids, None)
            return
        ended = self.uploads.complete(self.user_id, known.id, part_ids, None)
        assert ended.file is not None
        assert self.uploads.complete(self.user_id, known.id, part_ids, None) == ended
        known.status, known.is_of_placed = "completed", part_ids is None
        self.contents[known.id] = whole

    @rule(upload=made)
    def cancel(self, upload: str) -> None:
        known = self.known.get(upload)
        if known is None:
            return
        if self._status(known) in ("completed", "expired"):
            with pytest.raises(UploadEnded):
                self.uploads.cancel(self.user_id, known.id)
            return
        assert self.uploads.cancel(self.user_id, known.id).status == "cancelled"
        known.status = "cancelled"

    @rule(minutes=MINUTES)
    def wait(self, minutes: int) -> None:
        with self.workers.system() as tx:
            sql = """UPDATE uploads SET created_at = created_at - make_interval(mins => :by),
                     expires_at = expires_at - make_interval(mins => :by) WHERE user_id = :user_id"""
            execute(tx, sql, by=minutes, user_id=self.user_id)
        self.now += minutes

    @rule()
    def sweep(self) -> None:
        self.sweeper.begin_passes()
        self.sweeper.sweep()
        for known in list(self.known.values()):
            if self._status(known) != "pending":
                known.is_swept = True
                known.placed, known.loose = [], {}
            if known.is_swept and self.now - known.made > (UPLOAD_SECONDS + ENDED_UPLOAD_SECONDS) / 60:
                with pytest.raises(NotFound):
                    self.uploads.find(self.user_id, known.id)
                self._forget(known)
        expected = {sha256(data).hexdigest() for known in self.known.values() for data in known.parts}
        expected |= {sha256(data).hexdigest() for data in self.contents.values()}
        assert {path.name for path in Path(self.folder.name).rglob("*") if path.is_file()} == expected

    def _forget(self, known: Known) -> None:
        """The upload is gone; its file stays under a name of its own."""
        del self.known[known.id]
        if known.id in self.contents:
            self.contents[f"file of {known.id}"] = self.contents.pop(known.id)

    @invariant()
    def each_upload_is_shown_as_the_model_has_it(self) -> None:
        for known in self.known.values():
            ended = self.uploads.find(self.user_id, known.id)
            assert (ended.upload.status, ended.upload.offset) == (self._status(known), known.offset)
            assert (ended.file is not None) == (known.status == "completed")
            if ended.file:
                assert b"".join(self.files.open(ended.file)) == self.contents[known.id]

    @invariant()
    def the_room_is_that_of_files_and_pending_uploads(self) -> None:
        with self.database.user(self.user_id) as tx:
            assert file_rows.used(tx, self.user_id).bytes == self._used() <= ROOM


def test_uploads_behave_like_the_model(module_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_sweep, "FILE_SWEEP_SECONDS", 120.0)
    machine = type("OnThisDatabase", (Machine,), {"url": module_database_url})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=30, deadline=None))
