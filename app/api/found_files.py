"""Files in the parts of a request, as the parsers of the protocols find them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from app.api.errors import InvalidFields

NO_ADDRESS = "must be a data URL, or the file must be named by file_id: addresses are not fetched here"
_OWN = re.compile(r"/api/v1/files/([^/]+)/content")

Part = dict[str, Any]


@dataclass(slots=True)
class FoundFile:
    """A file in a request. ``place`` is the field that an error names; ``part`` is filled when the file
    is taken in.

    ``data_url`` has its bytes, or ``file_id`` names it. An imported file may have neither: it was gone.
    """

    place: str
    type: str
    data_url: str | None = None
    file_id: str | None = None
    filename: str | None = None
    detail: str = "auto"
    part: Part = field(default_factory=dict)


def by_address(url: Any, place: str, kind: str, **facts: Any) -> FoundFile:
    """The file of a URL: a data URL, or the address of a file at this service. Raises InvalidFields."""
    if not isinstance(url, str):
        raise InvalidFields([(place, "must be a string")])
    if url[:5].lower() == "data:":
        return FoundFile(place, kind, data_url=url, **facts)
    own = _OWN.fullmatch(urlsplit(url).path) if len(url) < 2000 and "\0" not in url else None
    if own is None:
        raise InvalidFields([(place, NO_ADDRESS)])
    return FoundFile(place, kind, file_id=own[1], **facts)
