"""A view looked at in both lights: a picture of each, and what axe-core and a narrow screen would have against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tests.browser.axe import faults
from tests.browser.conftest import Visitor

LIGHTS: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def look(visitor: Visitor, name: str) -> None:
    """Pictures are called ``name``-light and ``name``-dark."""
    for light in in_both_lights(visitor):
        visitor.picture(f"{name}-{light}")
        assert faults(visitor.page) == []
    assert fits(visitor)


def in_both_lights(visitor: Visitor) -> Iterator[str]:
    """What is on the screen, once as it is drawn by day and once as by night."""
    for light in LIGHTS:
        visitor.page.emulate_media(color_scheme=light)
        # Colours that are just being faded in are nobody's colours.
        visitor.page.wait_for_timeout(350)
        assert is_dark(visitor) == (light == "dark")
        yield light


def is_dark(visitor: Visitor) -> bool:
    """Whether the page is drawn on the dark paper."""
    drawn: str = visitor.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    return drawn == "rgb(24, 23, 21)"


def fits(visitor: Visitor) -> bool:
    """Whether nothing has to be scrolled sideways."""
    fitting: bool = visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return fitting
