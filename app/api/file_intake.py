"""Files of requests are taken in: out of data URLs into the storage, or looked up by their ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from app.api.errors import InvalidFields
from app.api.found_files import FoundFile, Part
from app.api.web_process import WebProcess
from app.domain import message_files
from app.domain.commands import User
from app.domain.errors import InvalidInput, NotFound
from app.services.attachments import FileRefused

# Files of one request, in all its messages together.
MOST_FILES = 100


def take_in(process: WebProcess, user: User, found: Sequence[FoundFile]) -> None:
    """Store the files in data URLs and look up the others. Raises InvalidFields, StoreDown, and QuotaUsed."""
    if len(found) > MOST_FILES:
        raise InvalidFields([(found[MOST_FILES].place, f"a request must not have more than {MOST_FILES} files")])
    for file in found:
        file.part |= _stored(process, user, file)


def imported(process: WebProcess, user: User) -> Callable[[Sequence[FoundFile]], None]:
    """A ``take_in`` for the messages of one import, which are read twice. A file that is gone stays gone."""
    known: dict[tuple[str | None, ...], Part] = {}

    def take(found: Sequence[FoundFile]) -> None:
        for file in found:
            key = (file.type, file.data_url and message_files.digest(file.data_url), file.file_id, file.filename)
            if key not in known:
                known[key] = _imported(process, user, file)
            file.part |= known[key]

    return take


@contextmanager
def placed(found: Sequence[FoundFile]) -> Iterator[None]:
    """A block in which a refused file is named by its place in the request."""
    try:
        yield
    except FileRefused as error:
        places = (file.place for file in found if file.part.get("file_id") == error.file_id)
        raise InvalidFields([(next(places, error.field or ""), error.reason)]) from None


def _stored(process: WebProcess, user: User, file: FoundFile) -> Part:
    files = process.resources.files
    try:
        if file.data_url is not None:
            stored = files.from_data_url(user.id, file.data_url, file.filename, file.place)
        elif file.file_id is not None:
            stored = files.find(user.id, file.file_id)
        else:
            raise InvalidFields([(file.place, "the part must have an id or the data of a file")])
    except NotFound:
        raise InvalidFields([(file.place, "there is no such file")]) from None
    except InvalidFields:
        raise
    except InvalidInput as error:
        raise InvalidFields([(file.place, error.detail.removeprefix(f"{file.place}: "))]) from None
    if file.type == message_files.IMAGE and not stored.media_type.startswith("image/"):
        raise InvalidFields([(file.place, f"must be an image, and is {stored.media_type}")])
    return message_files.part_of(stored, file.detail)


def _imported(process: WebProcess, user: User, file: FoundFile) -> Part:
    try:
        if file.data_url is not None or file.file_id is not None:
            return _stored(process, user, file)
    except InvalidFields:
        if file.data_url is not None:
            raise
    return {"type": file.type, "file_id": None, "filename": file.filename}
