"""Checks of a view in light and dark: a picture of each, the faults that axe-core finds, and its width."""

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
    """Check the view, and save pictures as ``name``-light and ``name``-dark."""
    for light in in_both_lights(visitor):
        visitor.picture(f"{name}-{light}")
        assert faults(visitor.page) == []
    visitor.until(lambda: fits(visitor), "nothing has to be scrolled sideways")


def in_both_lights(visitor: Visitor) -> Iterator[str]:
    """Show the page in light, then in dark."""
    for light in LIGHTS:
        visitor.page.emulate_media(color_scheme=light)
        dark = light == "dark"
        visitor.until(lambda dark=dark: is_dark(visitor) == dark, f"the page is drawn {light}")
        stands_still(visitor)
        yield light


def stands_still(visitor: Visitor) -> None:
    """Wait for the end of each animation that ends: its colours on the way are not those of the design."""
    # A frame for what has just been changed to begin with.
    visitor.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    visitor.until(lambda: not visitor.page.evaluate(MOVING), "everything stands still")


def is_dark(visitor: Visitor) -> bool:
    """Tells whether the page is drawn in dark colours."""
    drawn: str = visitor.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    return drawn == "rgb(24, 23, 21)"


def fits(visitor: Visitor) -> bool:
    """Tells whether the page fits the width of the screen."""
    fitting: bool = visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return fitting
