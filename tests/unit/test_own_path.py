"""The way back after a sign-in stays on this service, for every reader of addresses."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.own_path import own_path

BASE = "https://chat.example.com"
SIGNS = st.sampled_from(["/", "\\", ".", "%", "2f", "5c", "25", "09", "0a", ":", "@", "?", "#", "evil.com",
                         "javascript", "https", "\t", "\n", "\r", " ", "\0", "ü", "·", "a"])  # fmt: skip
HOSTILE = st.one_of(
    st.text(), st.lists(SIGNS, max_size=12).map("".join), st.lists(SIGNS).map(lambda s: "/" + "".join(s))
)


@pytest.mark.parametrize(
    "path", ["/", "/signin?close", "/c/0198", "/?q=a%20b", "/c/1?then=https://a.example/x", "/a#b"]
)
def test_a_path_of_this_service_stays_as_it_is(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "", "//evil.com", "///evil.com", "/\\evil.com", "\\\\evil.com", "https://evil.com", "javascript:alert(1)",
        "evil.com", "/%2fevil.com", "/%2Fevil.com", "/%5Cevil.com", "/%252fevil.com", "/%25252525252fevil.com",
        "/\t/evil.com", "/%09/evil.com", "/a%0d%0aSet-Cookie:x=1", "/?a=%0d%0aSet-Cookie:x=1",
        "/a//evil.com", "/..//evil.com", " /a", "/ü", "/a b", "/%00", "/" + "a" * 2048, "/?\\evil.com",
    ],
)  # fmt: skip
def test_an_address_elsewhere_leads_home(path: str) -> None:
    assert own_path(path) == "/"


@given(HOSTILE)
def test_no_text_leads_elsewhere(text: str) -> None:
    path = own_path(text)
    assert path in (text, "/")
    for form in (path, unquote(path.partition("?")[0]), unquote(unquote(path.partition("?")[0]))):
        assert urlsplit(urljoin(BASE, form))[:2] == urlsplit(BASE)[:2]
        assert not leaves(form)


@given(st.text(), st.text())
def test_quoted_names_are_never_lost(name: str, query: str) -> None:
    """A path made of quoted parts stays, unless its name has what a reader could take for an address."""
    path = f"/c/{quote(name, safe='')}?q={quote(query, safe='')}"
    plain = re.search(r"[/\\%\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd]", name + query.replace("/", "").replace("\\", ""))
    if plain is None and len(path) <= 2048:
        assert own_path(path) == path


def leaves(text: str) -> bool:
    """True when a browser (WHATWG URL) takes the text for an address with a scheme or a host."""
    seen = re.sub(r"[\t\n\r]", "", text.lstrip("".join(map(chr, range(33))))).replace("\\", "/")
    return seen.startswith("//") or bool(re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", seen))
