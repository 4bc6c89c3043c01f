"""Draws the icons of the page as PNG from its SVG: ``python -m dev.draw_icons``, after a change of ``icon.svg``.

An operating system cuts a maskable icon into a form of its own, so its ground fills the whole square and the wave stays
within the middle four fifths. The browser of the tests draws them (``CHROMIUM`` names the program).
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

STATIC = Path(__file__).resolve().parents[1] / "app" / "web" / "static"
# The file's name, its width in pixels, and whether its ground fills the square.
ICONS = (
    ("icon-192.png", 192, False),
    ("icon-512.png", 512, False),
    ("icon-maskable-512.png", 512, True),
    ("touch-icon-180.png", 180, True),
)
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def drawing(width: int, *, filled: bool) -> str:
    """A page with the icon alone, ``width`` pixels wide."""
    svg = (STATIC / "icon.svg").read_text()
    if filled:
        svg = re.sub(r' rx="\d+"', "", svg)
        svg = svg.replace("<path ", '<path transform="translate(16 16) scale(.8) translate(-16 -16)" ')
    svg = svg.replace("<svg ", f'<svg width="{width}" height="{width}" ')
    return f"<style>body {{ margin: 0 }} svg {{ display: block }}</style>{svg}"


def draw() -> None:
    """Write all icons into the folder of the page."""
    program = os.environ.get("CHROMIUM") or next(found for name in PROGRAMS if (found := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, width, filled in ICONS:
            page = browser.new_page(viewport={"width": width, "height": width})
            page.set_content(drawing(width, filled=filled))
            page.screenshot(path=STATIC / name, omit_background=True)
        browser.close()


if __name__ == "__main__":
    draw()
