"""A big file on its way from the page, while the connection is cut and the web server is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.browser.conftest import Site, Visitor, visiting
from tests.browser.sample_files import plain
from tests.browser.test_attachments import chips, pick, uploaded
from tests.factories import owner
from tests.fakes.proxy import TcpProxy

PART = 4 * 1024 * 1024  # bytes, as app/web/static/file_transfer.js has it
BIG = plain("log.txt", "".join(f"line {n:09} of a long log\n" for n in range(18 * 1024 * 1024 // 29)))


@pytest.fixture
def line(site: Site) -> Iterator[TcpProxy]:
    """The network between the browser and the web server."""
    with TcpProxy.before(site.url) as line:
        yield line


@pytest.fixture
def alice(chromium: Browser, site: Site, line: TcpProxy, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    for visit in visiting(chromium, site, request):
        alice = visit(signed_in=False)
        alice.page.goto(line.url(f"{site.url}/m/offline-fast/new"))
        alice.enter()
        yield alice


class Parts:
    """The requests of a page that send parts: the places of those that arrived, and of those that did not."""

    def __init__(self, page: Page) -> None:
        self.begun: list[int] = []
        self.arrived: list[int] = []
        self.failed: list[int] = []
        page.on("request", lambda request: self._note(request, self.begun))
        page.on("requestfinished", lambda request: self._note(request, self.arrived))
        page.on("requestfailed", lambda request: self._note(request, self.failed))

    @staticmethod
    def _note(request: Request, places: list[int]) -> None:
        if request.method == "PATCH":
            places.append(int(parse_qs(urlsplit(request.url).query)["offset"][0]))


PLACES = list(range(0, len(BIG["buffer"]), PART))


def kept(site: Site, user: str) -> list[tuple[str, int]]:
    """Hash and bytes of each file of a user."""
    with owner(site.stack.settings.database_url) as cursor:
        cursor.execute(
            """SELECT encode(f.sha256, 'hex'), f.bytes FROM files f JOIN users u ON u.id = f.user_id
               WHERE u.subject = %s""",
            (user,),
        )
        return list(cursor.fetchall())


def statuses(site: Site, user: str) -> list[str]:
    """The status of each upload in parts of a user."""
    with owner(site.stack.settings.database_url) as cursor:
        cursor.execute(
            "SELECT up.status FROM uploads up JOIN users u ON u.id = up.user_id WHERE u.subject = %s", (user,)
        )
        return [status for (status,) in cursor]


def is_whole(site: Site, alice: Visitor) -> bool:
    return kept(site, alice.name) == [(sha256(BIG["buffer"]).hexdigest(), len(BIG["buffer"]))]


def of(place: int) -> Callable[[bytes], bool]:
    """Recognises the request for a place by its first line."""
    return lambda data: data.startswith(b"PATCH") and b"offset=%d " % place in data.split(b"\r\n", 1)[0]


def hold(line: TcpProxy, place: int) -> None:
    """Let nothing through any more when the part of this place is on its way."""
    line.black_hole_at(of(place))


def test_a_lost_reply_costs_no_byte(site: Site, alice: Visitor, line: TcpProxy) -> None:
    """Chromium repeats a request by itself whose connection had carried others. The server counts the part once."""
    parts = Parts(alice.page)
    line.drop_reply_to(of(PLACES[1]))
    pick(alice, BIG)
    uploaded(alice, 1)
    assert line.lost_replies == 1
    assert parts.begun == PLACES
    assert is_whole(site, alice)
    assert statuses(site, alice.name) == ["completed"]


def test_a_cut_connection_costs_the_part_that_was_on_its_way(site: Site, alice: Visitor, line: TcpProxy) -> None:
    parts = Parts(alice.page)
    hold(line, PLACES[2])
    pick(alice, BIG)
    alice.until(lambda: line.rules.holed, "the third part is on its way")
    line.refuse()
    expect(alice.page.locator(".attachment.paused")).to_be_visible()
    line.pass_()
    uploaded(alice, 1)
    assert parts.failed == [PLACES[2]]
    assert sorted(parts.begun) == sorted([*PLACES, PLACES[2]])
    assert parts.arrived == PLACES
    assert is_whole(site, alice)


def test_a_killed_web_server_costs_the_part_that_was_on_its_way(site: Site, alice: Visitor, line: TcpProxy) -> None:
    parts = Parts(alice.page)
    hold(line, PLACES[1])
    pick(alice, BIG)
    alice.until(lambda: line.rules.holed, "the second part is on its way")
    site.web.kill()
    line.pass_()
    expect(alice.page.locator(".attachment.paused")).to_be_visible()
    site.return_web()
    uploaded(alice, 1)
    assert len(parts.begun) <= len(PLACES) + 1
    assert sorted({*parts.arrived, *parts.failed}) == PLACES
    assert is_whole(site, alice)


def test_a_cancelled_upload_is_cancelled_on_the_server(site: Site, alice: Visitor, line: TcpProxy) -> None:
    hold(line, PLACES[1])
    pick(alice, BIG)
    alice.until(lambda: line.rules.holed, "the server has a part, and the second one is on its way")
    expect(chips(alice)).to_contain_text("%")
    alice.page.get_by_role("button", name="Cancel log.txt").click()
    expect(chips(alice)).to_have_count(0)
    line.pass_()
    alice.until(lambda: statuses(site, alice.name) == ["cancelled"], "the server knows")
    assert kept(site, alice.name) == []
