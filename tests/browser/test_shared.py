"""The page of a shared conversation: for a visitor without a session, with and without scripts, at three widths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SIZES, Site, Visitor
from tests.browser.looks import look

Visit = Callable[..., Visitor]
OWNER = "owner of shares"
TITLE = "Piers <and> harbours, with a title that is long enough to be broken into two lines on a telephone"


@pytest.fixture
def share(site: Site) -> dict[str, Any]:
    """A shared conversation with two answers in Markdown."""
    at = "2026-01-01T00:00:00Z"
    answer = "## A pier\n\nIt **stands** in the sea:\n\n- wood\n- stone\n\n```python\nprint('<pier>')\n```"
    texts = ["What is a <b>pier</b>?", answer, "And in a table?", "| material | years |\n|---|---|\n| oak | 40 |"]
    messages = [
        {
            "parent": n or None,
            "role": "assistant" if n % 2 else "user",
            "status": "completed",
            "content": text,
            "created_at": at,
            **({"model": "offline"} if n % 2 else {}),
        }
        for n, text in enumerate(texts)
    ]
    past = {"title": TITLE, "created_at": at}
    body = {"format": "unbroken.conversation", "version": 1, "conversation": past, "messages": messages}
    made = site.post("/conversations/import", OWNER, body)
    found: dict[str, Any] = site.post(f"/conversations/{made['id']}/share", OWNER, {})
    return found


@pytest.mark.parametrize("size", sorted(SIZES))
def test_a_visitor_without_a_session_reads_the_copy(visit: Visit, share: dict[str, Any], size: str) -> None:
    reader = visit(size=size, signed_in=False)
    reader.go(share["url"])
    expect(reader.page.get_by_role("heading", level=1)).to_have_text(TITLE)
    expect(reader.page.locator("body[data-drawn]")).to_be_attached()
    first = reader.page.locator(".answer").first
    expect(first.get_by_role("heading", name="A pier")).to_be_visible()
    expect(first.locator("strong")).to_have_text("stands")
    expect(reader.page.locator(".question").first).to_contain_text("What is a <b>pier</b>?")
    expect(reader.page.get_by_role("cell", name="oak")).to_be_visible()
    look(reader, f"shared-{size}")


def test_without_scripts_the_text_is_there_and_an_ended_share_is_not(
    visit: Visit, site: Site, share: dict[str, Any]
) -> None:
    reader = visit(signed_in=False, java_script_enabled=False)
    reader.go(share["url"])
    expect(reader.page.locator(".answer").first).to_contain_text("It **stands** in the sea:")
    site.delete(f"/conversations/{share['conversation_id']}/share", OWNER)
    reader.go(share["url"])
    expect(reader.page.get_by_role("heading", name="Not shared")).to_be_visible()
