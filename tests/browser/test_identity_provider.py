"""Signing in on the page by an identity provider: the first time, after the session has ended, and out again."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from dev.postgres import Postgres
from dev.server import free_port
from dev.valkey import Valkey
from tests.browser.conftest import PATIENCE
from tests.factories import owner
from tests.fakes.oidc_provider import OIDCProvider
from tests.stack import Stack, until


@pytest.fixture(scope="module")
def provider() -> Iterator[OIDCProvider]:
    with OIDCProvider(origin=f"http://127.0.0.1:{free_port()}") as provider:
        yield provider


@pytest.fixture(scope="module")
def stack(
    provider: OIDCProvider,
    postgres: Postgres,
    valkey: Valkey,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("provider")
    postgres.clone_database(migrated_template, directory.name)
    stack = Stack(
        directory,
        postgres.url(directory.name),
        valkey.url(),
        PUBLIC_URL=provider.origin,
        OIDC_ISSUER=provider.issuer,
        OIDC_CLIENT_ID=provider.client_id,
        OIDC_CLIENT_SECRET=provider.client_secret,
    )
    stack.web(port=int(provider.origin.rpartition(":")[2]))
    yield stack
    stack.stop()
    postgres.drop_database(directory.name)


@pytest.fixture
def page(chromium: Browser, stack: Stack, provider: OIDCProvider) -> Iterator[Page]:
    provider.reset()
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    yield context.new_page()
    context.close()


def sign_in_link(page: Page) -> None:
    page.get_by_role("link", name="Sign in").click()


def expect_chat(page: Page) -> None:
    expect(page.get_by_role("textbox", name="Message", exact=True)).to_be_visible()


def test_a_person_signs_in_where_they_wanted_to_go_and_out_at_both_places(page: Page, provider: OIDCProvider) -> None:
    page.goto(f"{provider.origin}/m/offline/new")
    sign_in_link(page)
    expect_chat(page)
    assert page.url == f"{provider.origin}/m/offline/new"
    account = page.get_by_role("button", name=re.compile("Account and settings"))
    expect(account).to_contain_text("alice@example.com")
    account.click()
    page.get_by_role("menuitem", name="Sign out").click()
    # The link is also in the notice that the session has ended, before the page goes to the provider.
    until(lambda: provider.ended)
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    assert len(provider.ended) == 1


def test_a_session_that_has_ended_is_renewed_in_another_tab(page: Page, provider: OIDCProvider, stack: Stack) -> None:
    page.goto(provider.origin)
    sign_in_link(page)
    expect_chat(page)
    page.get_by_role("textbox", name="Message", exact=True).fill("an unsent thought")
    with owner(stack.settings.database_url) as cursor:
        cursor.execute("UPDATE sessions SET created_at = now() - interval '100 years'")
    # Any request shows it; a feed would show it at its next connection.
    page.evaluate("import('/static/api.js').then((api) => api.models()).catch(() => {})")
    dialog = page.get_by_role("dialog", name="Your session has ended")
    expect(dialog).to_be_visible()
    with page.context.expect_page() as opened:
        dialog.get_by_role("link", name="Sign in").click()
    tab = opened.value
    expect(dialog).to_have_count(0)
    # The tab closes itself: its address was opened by this page.
    deadline = time.monotonic() + 30
    while not tab.is_closed():
        assert time.monotonic() < deadline
        page.wait_for_timeout(30)
    expect(page.get_by_role("textbox", name="Message", exact=True)).to_have_value("an unsent thought")


def test_a_refused_sign_in_says_so_and_leads_back(page: Page, provider: OIDCProvider) -> None:
    provider.switches.wrong_nonce = True
    page.goto(provider.origin)
    sign_in_link(page)
    expect(page.get_by_role("alert")).to_be_visible()
    assert "nonce" not in page.content()
    page.get_by_role("link", name="Open Unbroken").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
