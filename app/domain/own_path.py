"""The way back after a sign-in: a path of this service, and never an address of another one. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote

HOME = "/"
# Characters.
_LONGEST = 2048
# Browsers remove tabs and line ends from an address, and proxies may decode a path more than once.
_ROUNDS = 4
_VISIBLE = re.compile(r"/[!-~]*")
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd]")


def own_path(text: str) -> str:
    """The path with its query if every reader takes it for one of this service; otherwise ``/``.

    A path begins with one slash and has visible ASCII characters only. Refused, also in percent-encoded forms: two
    slashes in a row, a backslash, a control character. A query may contain any address.
    """
    if len(text) > _LONGEST or not _VISIBLE.fullmatch(text):
        return HOME
    path, rest = re.match(r"([^?#]*)(.*)", text).groups()  # type: ignore[union-attr]  # it matches every text
    plain, hidden = _decoded(path), _decoded(rest)
    if plain is None or hidden is None or any("//" in form or "\\" in form for form in plain) or "\\" in rest:
        return HOME
    return HOME if any(_HIDDEN.search(form) for form in (*plain, *hidden)) else text


def _decoded(text: str) -> list[str] | None:
    """The text, and each form that decoding it again gives; None when there is no end."""
    forms = [text]
    for _ in range(_ROUNDS):
        following = unquote(forms[-1])
        if following == forms[-1]:
            return forms
        forms.append(following)
    return None
