"""The way of an operator in Compose: the port of the proxy on the loopback, and the public port without the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Site, Visitor
from tests.deploy.proxy import Proxy, binary

pytestmark = pytest.mark.skipif(binary() is None, reason="nginx is not installed (apt-get install nginx-light)")


@pytest.fixture(scope="module")
def proxy(site: Site) -> Iterator[Proxy]:
    address = urlsplit(site.url).netloc
    proxy = Proxy({"web": [address], "streams": [address]})
    yield proxy
    proxy.stop()


def test_an_operator_signs_in_and_acts_on_the_operators_port(
    visit: Callable[..., Visitor], site: Site, proxy: Proxy
) -> None:
    olga = visit("olga", signed_in=False)
    page = olga.page
    page.goto(f"http://127.0.0.1:{proxy.operators_port}{site.sign_in_path(olga.name, 'admin')}")
    page.get_by_role("button", name="Sign in").click()
    expect(olga.box).to_be_visible()
    page.get_by_role("button", name=re.compile("Account and settings")).click()
    page.get_by_role("menuitem", name="Operators’ page").click()
    expect(page.get_by_text("Ready", exact=True)).to_be_visible()
    page.get_by_role("link", name="Users").click()
    mallory = f"mallory-{olga.name}"
    site.get("/conversations", mallory)
    page.get_by_role("searchbox", name="Search").fill(mallory)
    page.get_by_role("link", name=mallory).click()
    # The server accepts the origin of a change.
    page.get_by_role("button", name="Block…").click()
    page.get_by_role("textbox", name="Reason, for the audit").fill("Attacks others")
    page.get_by_role("dialog").get_by_role("button", name="Block the user").click()
    expect(page.get_by_role("button", name="Unblock…")).to_be_visible()
    # A web process reads revocations several times a second.
    olga.until(lambda: site.get("/conversations", mallory) == 403, "the user is refused")


def test_the_public_port_has_neither_the_page_nor_a_link_to_it(
    visit: Callable[..., Visitor], site: Site, proxy: Proxy
) -> None:
    olga = visit("olga", signed_in=False)
    page = olga.page
    page.goto(f"{proxy.address}{site.sign_in_path(olga.name, 'admin')}")
    page.get_by_role("button", name="Sign in").click()
    expect(olga.box).to_be_visible()
    page.get_by_role("button", name=re.compile("Account and settings")).click()
    expect(page.get_by_role("menuitem", name="Sign out")).to_be_visible()
    expect(page.get_by_role("menuitem", name="Operators’ page")).to_have_count(0)
    refused = page.goto(f"{proxy.address}/ops")
    assert refused is not None
    assert refused.status == 404
