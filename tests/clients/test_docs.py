"""The pages of docs/clients: every block marked `run` is run as it stands there, against a real instance."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Site
from tests.clients.node import HERE, installed, node

pytestmark = pytest.mark.slow

PAGES = Path(__file__).resolve().parents[2] / "docs" / "clients"
SECONDS = 300
_BLOCK = re.compile(r"^```(\w+) run\n(.*?)^```$", re.DOTALL | re.MULTILINE)

# What each block must say at its end, by page, in order. Several patterns: of the last lines.
EXPECTED = {
    "ai-sdk": [r"^\d{3,} characters, then all \d{4,}: true$"],
    "eventsource": [r"^completed: \d{4,} characters$"],
    "feed": [r"^conversation.updated\nreplay.end\n(presence\n)*1$", r"^[1-9]\d*\n2$"],
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
    return _BLOCK.findall((PAGES / f"{page}.md").read_text())


@pytest.mark.parametrize(
    ("page", "number"), [(page, number) for page, patterns in EXPECTED.items() for number in range(len(patterns))]
)
def test_what_a_page_says_works(site: Site, page: str, number: int, tmp_path: Path) -> None:
    found = blocks(page)
    assert len(found) == len(EXPECTED[page]), "every example is expected to say something"
    language, code = found[number]
    told = _run(language, code, {"URL": site.web.url, "TOKEN": site.key()}, tmp_path)
    assert re.search(EXPECTED[page][number], told, re.MULTILINE), told[-2000:]


def _run(language: str, code: str, variables: dict[str, str], directory: Path) -> str:
    if language == "sh":
        command = ["sh", "-eu", "-c", code]
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
