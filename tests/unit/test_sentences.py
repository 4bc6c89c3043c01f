"""Every code that the server can give has a sentence on the page, and the page has none for a code that is gone."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import get_args

import pytest

from app.api.errors import KINDS, slug_of
from app.config import Settings
from app.domain.answer_errors import AnswerError
from app.domain.errors import UnbrokenError
from app.domain.waiting import Reason
from app.web.views import STATIC

SOURCE = (STATIC / "sentences.js").read_text()
# What Flask, the web server and a proxy before it answer with, beside our own errors.
STATUSES = (400, 405, 413, 502, 503, 504)
# Python has renamed the status 413.
RENAMED = {"request-entity-too-large", "content-too-large"}
# The page has words of its own for an answer that waits, and a reason that it does not know yet.
WAITS_OF_THE_PAGE = {"turn"}


def keys(name: str) -> set[str]:
    """The keys of one of the tables."""
    table = re.search(rf"^export const {name} = {{\n(.*?)^}};", SOURCE, re.MULTILINE | re.DOTALL)
    assert table, f"sentences.js has no table {name}"
    return {key.strip("'") for key in re.findall(r"^  ('[^']+'|\w+): ", table[1], re.MULTILINE)}


def all_errors(root: type[UnbrokenError] = UnbrokenError) -> list[type[UnbrokenError]]:
    return [root, *(error for child in root.__subclasses__() for error in all_errors(child))]


def test_every_error_of_an_answer_has_a_sentence() -> None:
    assert keys("ANSWER_ERRORS") == set(get_args(AnswerError))


def test_every_kind_of_refusal_has_an_entry() -> None:
    known = {kind.slug for kind in KINDS.values()} | {slug_of(HTTPStatus(status)) for status in STATUSES} | RENAMED
    assert keys("PROBLEMS") == known


def test_a_refusal_in_the_words_of_the_server_has_its_kind_for_other_languages() -> None:
    left_to_the_server = re.findall(r"^  '?([\w-]+)'?: \{ says: null, (\w+)", SOURCE, re.MULTILINE)
    assert len(left_to_the_server) > 10
    assert {kind for kind, field in left_to_the_server if field != "kind"} == set()


def test_every_reason_of_a_wait_has_words() -> None:
    assert keys("WAITS") == set(get_args(Reason)) | WAITS_OF_THE_PAGE


def test_every_limit_of_a_refusal_has_a_sentence() -> None:
    named = {error.limit for error in all_errors() if getattr(error, "limit", None)}
    rates = {name.upper() for name in Settings.model_fields if name.startswith("ratelimit_")}
    assert keys("LIMITS") == named | rates


@pytest.mark.parametrize("name", ["NOT_CONTINUED"])
def test_a_set_of_codes_names_only_codes_that_exist(name: str) -> None:
    found = re.search(rf"^export const {name} = new Set\(\[(.*?)\]\);", SOURCE, re.MULTILINE | re.DOTALL)
    assert found
    assert set(re.findall(r"'(\w+)'", found[1])) <= set(get_args(AnswerError))
