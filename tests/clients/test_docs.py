"""README and the pages of docs/clients: each block with the mark `run` is run unchanged against a real instance."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import KEY, KEY_ID, Site
from tests.clients.node import HERE, installed, node

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "clients"
SECONDS = 300
_BLOCK = re.compile(r"^```(\w+) run\n(.*?)^```$", re.DOTALL | re.MULTILINE)

# What each block must say at its end, by page, in order. Several patterns: of the last lines.
EXPECTED = {
    "README": [r'^data: {"type":"done",.*"status":"completed"', r"\w+ \w+"],
    "ai-sdk": [r"^\d{3,} characters, then all \d{4,}: true$"],
    "eventsource": [r"^completed: \d{4,} characters$"],
    "feed": [r"^conversation.updated\nreplay.end\n(presence\n)*1$", r"^[1-9]\d*\n2$"],
    "signed-requests": [r"^queued\ncompleted \d{3,}$", r"^200 true$"],
    "curl": [
        r'^data: {"type":"done",.*"status":"completed".*\nid: 1-\d+\n$',
        # Fewer events on a busy machine, where pieces share one.
        r"^([5-9]\d|\d{3})\n204$",
        r'^"status":"cancelled"$',
        r'^"cursor":"1-\d+"$',
        r'data: {"type":"done",',
    ],
}


def blocks(page: str) -> list[tuple[str, str]]:
    folder = ROOT if page == "README" else PAGES
    return _BLOCK.findall((folder / f"{page}.md").read_text())


@pytest.mark.parametrize(
    ("page", "number"), [(page, number) for page, patterns in EXPECTED.items() for number in range(len(patterns))]
)
def test_what_a_page_says_works(site: Site, page: str, number: int, tmp_path: Path) -> None:
    found = blocks(page)
    assert len(found) == len(EXPECTED[page]), "every example is expected to say something"
    language, code = found[number]
    variables = {"URL": site.web.url, "TOKEN": site.key(), "KEY_ID": KEY_ID, "KEY": KEY}
    told = _run(language, code, variables, tmp_path)
    assert re.search(EXPECTED[page][number], told, re.MULTILINE), told[-2000:]


def _run(language: str, code: str, variables: dict[str, str], directory: Path) -> str:
    if language in ("sh", "python"):
        command = ["sh", "-eu", "-c", code] if language == "sh" else [sys.executable, "-c", code]
        ran = subprocess.run(
            command, cwd=directory, env={**os.environ, **variables}, capture_output=True, text=True, timeout=SECONDS
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout
    installed()
    # Beside the packages, so that it finds them.
    script = HERE / f".{directory.name}.mjs"
    script.write_text(code)
    process = node(script, **variables)
    try:
        told, errors = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        script.unlink()
    assert process.returncode == 0, errors
    return told
