"""The languages of the pages: a catalogue of texts for each, and the choice for a request.

A catalogue is a module of ``static/texts`` whose only object is JSON, so that the server reads the file that browsers
load. A file more is a language more.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Request, Response
from markupsafe import Markup, escape

CATALOGUES = Path(__file__).parent / "static" / "texts"
# The language of a reader who has chosen none and whose browser asks for none of the others.
FALLBACK = "en"
# The page stores the choice here, so that the server knows it before anybody is signed in.
COOKIE = "unbroken-language"
_PLACE = re.compile(r"\{(\w+)\}")
_OBJECT = re.compile(r"\{\n.*\n\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Language:
    """A language by its code, as BCP 47 has it. ``texts`` has a text or the forms of a plural for each key."""

    code: str
    texts: dict[str, Any]

    @property
    def direction(self) -> str:
        """``ltr`` or ``rtl``."""
        return str(self.texts["direction"])

    def text(self, key: str, **values: object) -> Markup:
        """The text of a key. ``values`` fill its places, escaped; ``count`` 1 takes the form ``one`` of a plural."""
        text = self.texts[key]
        if isinstance(text, dict):
            text = text["one" if values["count"] == 1 and "one" in text else "other"]
        return Markup(_PLACE.sub(lambda place: str(escape(values[place[1]])), escape(text)))


def read(path: Path) -> dict[str, Any]:
    """The texts of a catalogue, by key. Raises ValueError for a module that is none."""
    found = _OBJECT.search(path.read_text())
    if found is None:
        raise ValueError(f"{path.name} has no object with texts")
    texts: dict[str, Any] = json.loads(found[0])
    return texts


LANGUAGES = {path.stem: Language(path.stem, read(path)) for path in sorted(CATALOGUES.glob("*.js"))}


def choose(request: Request) -> Language:
    """The language of a request: that of its cookie, that of ``Accept-Language``, or English."""
    accepted = [tag.split("-")[0].lower() for tag, quality in request.accept_languages if quality > 0]
    codes = [request.cookies.get(COOKIE, ""), *accepted, FALLBACK]
    return next(LANGUAGES[code] for code in codes if code in LANGUAGES)


def forget(response: Response) -> None:
    """Delete the choice of the user, who signs out. The page writes no other attributes."""
    response.delete_cookie(COOKIE, samesite="Lax")
