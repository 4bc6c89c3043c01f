"""Forms with files (multipart/form-data): read piece by piece, so that a file is never in memory as a whole.

The web server has the whole body, in a file without a name, when a thread begins to read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import request
from pydantic import ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from app.api.bodies import FORM_BYTES, BodyKind
from app.api.errors import BodyTooLarge, EncodedBody, InvalidFields, UnsupportedMediaType
from app.api.request_parsing import UNKNOWN_FIELD, Body, check
from app.api.signatures.digest import SignedBody
from app.config import Settings
from app.domain.errors import MalformedInput
from app.files.staging import Staged

PIECE_BYTES = 65_536
# Parts of a form, bytes of one field, and bytes that the parser holds back while it looks for the end of a part.
MOST_PARTS = 20
MOST_FIELD_BYTES = 8192
_HELD_BYTES = 2 * PIECE_BYTES

Model = TypeVar("Model", bound="FormBody")


class NoForm(UnsupportedMediaType):
    """The body must be a form with a file, and Content-Type must say so: multipart/form-data."""


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of a form: its name, the type that the client declared, and its bytes in pieces."""

    filename: str
    declared: str | None
    staged: Staged

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "format": "binary"}


class FormBody(Body):
    """A form with exactly the fields it may have. All but files are texts."""

    model_config = ConfigDict(strict=False, arbitrary_types_allowed=True)


@contextmanager
def read_form(model: type[Model], settings: Settings, kind: BodyKind) -> Iterator[Model]:
    """The form of the request. Its files are freed at the end of the block.

    Raises NoForm, EncodedBody, BodyTooLarge, FileTooLarge, MalformedInput, InvalidFields, SignatureRefused.
    """
    with ExitStack() as files:
        limit = (kind.most_bytes(settings) - FORM_BYTES, kind.bytes_setting.upper())
        reader = _FormReader(model, limit, files)
        signed = SignedBody()
        for piece in _pieces(kind, settings):
            signed.add(piece)
            reader.feed(piece)
        reader.finish()
        signed.check()
        yield check(model, reader.values)


def _boundary() -> bytes:
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise EncodedBody
    kind, options = parse_options_header(request.content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise NoForm
    return options["boundary"].encode("latin-1", "replace")


def _pieces(kind: BodyKind, settings: Settings) -> Iterator[bytes]:
    request.max_content_length = most = kind.most_bytes(settings)
    read = 0
    try:
        while piece := request.stream.read(PIECE_BYTES):
            read += len(piece)
            yield piece
    except RequestEntityTooLarge:
        raise BodyTooLarge(most, kind.bytes_setting.upper()) from None
    if request.content_length is None and read >= most:
        # Werkzeug cuts a body of unknown length off at the limit without an error.
        raise BodyTooLarge(most, kind.bytes_setting.upper())


class _FormReader:
    """The parts of a form: fields as texts, files in files without names.

    ``limit``: bytes of a file, and the variable that bounds them.
    """

    def __init__(self, model: type[FormBody], limit: tuple[int, str], files: ExitStack) -> None:
        self._decoder = MultipartDecoder(_boundary(), _HELD_BYTES, max_parts=MOST_PARTS)
        fields = model.model_fields
        self._names = {field.alias or name for name, field in fields.items()}
        self._of_files = {field.alias or name for name, field in fields.items() if FormFile in _types(field.annotation)}
        self._most, self._variable = limit
        self._files = files
        self._name = ""
        self._text = bytearray()
        self._staged: Staged | None = None
        self._is_whole = False
        self.values: dict[str, Any] = {}

    def feed(self, piece: bytes) -> None:
        """Read the next piece of the body."""
        with _malformed():
            self._decoder.receive_data(piece)
        self._read_events()

    def finish(self) -> None:
        """Read the end of the body."""
        with _malformed():
            self._decoder.receive_data(None)
        self._read_events()
        if not self._is_whole:
            raise _not_a_form()

    def _read_events(self) -> None:
        while True:
            with _malformed():
                event = self._decoder.next_event()
            if isinstance(event, NeedData):
                return
            if isinstance(event, Epilogue):
                self._is_whole = True
                return
            if isinstance(event, (Field, File)):
                self._begin(event)
            elif isinstance(event, Data):
                self._add(event)

    def _begin(self, part: Field | File) -> None:
        name = part.name or ""
        if name not in self._names:
            raise InvalidFields([(name[:80], UNKNOWN_FIELD)])
        if name in self.values:
            raise InvalidFields([(name, "is given twice")])
        is_file = isinstance(part, File)
        if is_file != (name in self._of_files):
            detail = "must not be a file" if is_file else "must be a file, with a name in Content-Disposition"
            raise InvalidFields([(name, detail)])
        self._name, self._text, self._staged = name, bytearray(), None
        if isinstance(part, File):
            self._staged = self._files.enter_context(Staged(self._most, name, self._variable))
            self.values[name] = FormFile(part.filename, part.headers.get("Content-Type"), self._staged)

    def _add(self, event: Data) -> None:
        if self._staged is not None:
            self._staged.write(event.data)
            return
        self._text += event.data
        if len(self._text) > MOST_FIELD_BYTES:
            raise InvalidFields([(self._name, f"must have at most {MOST_FIELD_BYTES} bytes")])
        if not event.more_data:
            with _malformed():
                self.values[self._name] = self._text.decode()


def _types(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *getattr(annotation, "__args__", ()))


def _not_a_form() -> MalformedInput:
    return MalformedInput("The body is not valid multipart/form-data.")


@contextmanager
def _malformed() -> Iterator[None]:
    try:
        yield
    except RequestEntityTooLarge:
        raise MalformedInput(f"The form has more than {MOST_PARTS} parts, or a part with too long a header.") from None
    except ValueError:
        raise _not_a_form() from None
