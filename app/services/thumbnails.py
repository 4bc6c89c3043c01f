"""Thumbnails of users' images: made when they are first wanted, and kept beside the bytes of their image."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Lock
from time import monotonic

from app.domain.errors import DatabaseDown, Overloaded
from app.files.errors import BytesMissing, NoThumbnail, StorageDown
from app.files.storage import Storage, key_of, thumbnail_key_of
from app.files.thumbnails import check, make
from app.services.user_places import UserPlaces
from app.store import files
from app.store.database import Database
from app.store.files import File

# Seconds that a request waits for its turn, and requests of a process that wait at a time for each that is at work.
THUMBNAIL_WAIT_SECONDS = 3.0
THUMBNAILS_WAITING = 4
# Seconds for which an image without a thumbnail is not tried again, and such images that are known.
NO_THUMBNAIL_SECONDS = 600.0
NO_THUMBNAILS_KNOWN = 1000


class Thumbnails:
    """Makes and reads thumbnails; ``make`` takes the bytes of an image and its type, ``at_once`` of them at a time.

    A thumbnail is no file of its user: it counts in no quota, and it goes with the bytes of its image.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        at_once: int,
        make: Callable[[Iterable[bytes], str], bytes] = make,
    ) -> None:
        self._database = database
        self._storage = storage
        self._at_once = at_once
        self._make = make
        self._turns = _Turns(at_once)
        self._without = _Without()

    def read(self, file: File) -> bytes:
        """The thumbnail of an image, as WebP.

        Raises NoThumbnail, Overloaded when too many are being made for all users or for this one, and StorageDown, also
        for an image without bytes.
        """
        check(file.media_type, (file.width or 0) * (file.height or 0))
        image = key_of(file.user_id, file.sha256)
        if known := self._stored(image):
            return known
        self._without.check(image)
        if not self._at_once:
            raise NoThumbnail("none are made here (MAX_THUMBNAILS_AT_ONCE=0)")
        with self._turns.of(file.user_id):
            # Another request may have made it meanwhile.
            if known := self._stored(image):
                return known
            try:
                made = self._make(self._storage.open(image), file.media_type)
            except NoThumbnail as error:
                self._without.add(image, error.reason)
                raise
        self._keep(file, image, made)
        return made

    def _stored(self, image: str) -> bytes | None:
        try:
            return b"".join(self._storage.open(thumbnail_key_of(image)))
        except BytesMissing:
            return None

    def _keep(self, file: File, image: str, made: bytes) -> None:
        """Store a thumbnail, unless the file has gone meanwhile. A thumbnail that is left over goes with a sweep."""
        with suppress(StorageDown, DatabaseDown):
            self._storage.put(thumbnail_key_of(image), (made,))
            with self._database.user(file.user_id) as tx:
                is_needed = files.has_bytes(tx, file.user_id, file.sha256)
            if not is_needed:
                self._storage.delete(thumbnail_key_of(image))


class _Turns:
    """The turns of requests that make thumbnails, ``at_once`` at a time. Any thread may use it.

    One user has one turn at a time, and up to half of the places of those who have a turn or wait for one.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._places = UserPlaces(at_once * (1 + THUMBNAILS_WAITING), "thumbnails", "MAX_THUMBNAILS_AT_ONCE")
        self._changed = Condition()
        self._at_work = set[str]()

    @contextmanager
    def of(self, user_id: str) -> Iterator[None]:
        """The turn of a user. Raises Overloaded when too many wait, or when the request has waited too long."""
        with self._places.of(user_id):
            with self._changed:
                if not self._changed.wait_for(lambda: self._is_free(user_id), THUMBNAIL_WAIT_SECONDS):
                    raise self._busy()
                self._at_work.add(user_id)
            try:
                yield
            finally:
                with self._changed:
                    self._at_work.discard(user_id)
                    self._changed.notify_all()

    def _is_free(self, user_id: str) -> bool:
        return user_id not in self._at_work and len(self._at_work) < self._at_once

    def _busy(self) -> Overloaded:
        return Overloaded(f"No more than {self._at_once} thumbnails are made here at once (MAX_THUMBNAILS_AT_ONCE).")


class _Without:
    """The images of which there is no thumbnail, with the reason, for some time. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = Lock()
        # With the times until which they count, by the monotonic clock.
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def check(self, image: str) -> None:
        """Raise NoThumbnail for an image that is known."""
        with self._lock:
            reason, until = self._known.get(image, ("", 0.0))
        if monotonic() < until:
            raise NoThumbnail(reason)

    def add(self, image: str, reason: str) -> None:
        with self._lock:
            self._known[image] = (reason, monotonic() + NO_THUMBNAIL_SECONDS)
            self._known.move_to_end(image)
            while len(self._known) > NO_THUMBNAILS_KNOWN:
                self._known.popitem(last=False)
