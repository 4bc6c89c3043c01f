"""A view looked at in both lights: a picture of each, and what axe-core and a narrow screen would have against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tests.browser.axe import faults
from tests.browser.conftest import Visitor

MOVING = """
() => document.getAnimations().some((each) =>
  each.playState === 'running' && Number.isFinite(each.effect.getComputedTiming().endTime))
"""
LIGHTS: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def look(visitor: Visitor, name: str) -> None:
    """Pictures are called ``name``-light and ``name``-dark."""
    for light in in_both_lights(visitor):
        visitor.picture(f"{name}-{light}")
        assert faults(visitor.page) == []
    visitor.until(lambda: fits(visitor), "nothing has to be scrolled sideways")


def in_both_lights(visitor: Visitor) -> Iterator[str]:
    """What is on the screen, once as it is drawn by day and once as by night."""
    for light in LIGHTS:
        visitor.page.emulate_media(color_scheme=light)
        dark = light == "dark"
        visitor.until(lambda dark=dark: is_dark(visitor) == dark, f"the page is drawn {light}")
        stands_still(visitor)
        yield light


def stands_still(visitor: Visitor) -> None:
    """Wait until nothing fades or moves that comes to an end by itself: colours on their way are nobody's colours."""
    # A frame for what has just been changed to begin with.
    visitor.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    visitor.until(lambda: not visitor.page.evaluate(MOVING), "everything stands still")


def is_dark(visitor: Visitor) -> bool:
    """Whether the page is drawn on the dark paper."""
    drawn: str = visitor.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    return drawn == "rgb(24, 23, 21)"


def fits(visitor: Visitor) -> bool:
    """Whether nothing has to be scrolled sideways."""
    fitting: bool = visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return fitting
