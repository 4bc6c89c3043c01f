"""A user on the operators' page: signed in with a role, and the actions that a person takes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, expect

from tests.browser.conftest import Visitor

SIZES = {"phone": (390, 844), "tablet": (820, 1180), "desk": (1440, 900)}


class Operator:
    """A visitor of /ops."""

    def __init__(self, visit: Callable[..., Visitor], name: str = "olga", role: str | None = "admin") -> None:
        self.visitor = visit(name, signed_in=False)
        self.site = self.visitor.site
        self.page = self.visitor.page
        self.name = self.visitor.name
        self.visitor.use_link(self.page, role)
        self.resize("desk")

    def resize(self, size: str) -> None:
        width, height = SIZES[size]
        self.page.set_viewport_size({"width": width, "height": height})

    def go(self, path: str) -> None:
        """Open an address, and wait for the heading of its view."""
        self.visitor.go(path)
        expect(self.page.get_by_role("heading", level=1)).to_be_visible()

    @property
    def address(self) -> str:
        """The path and the query of the page."""
        address: str = self.page.evaluate("location.pathname + location.search")
        return address

    def row(self, text: str) -> Locator:
        return self.page.get_by_role("row").filter(has_text=text)

    def give_reason(self, reason: str, button: str) -> None:
        """Fill in the open dialog and confirm it."""
        self.page.get_by_role("textbox", name="Reason, for the audit").fill(reason)
        self.page.get_by_role("dialog").get_by_role("button", name=button).click()
        expect(self.page.get_by_role("dialog")).to_have_count(0)

    def ask(self, path: str) -> Any:
        """The JSON of a GET of the operators' API."""
        return self.site._ask("GET", f"/ops{path}", self.name, role="admin")
