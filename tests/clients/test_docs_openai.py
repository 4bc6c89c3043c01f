"""The examples of docs/clients, run unchanged."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import Site
from tests.clients.node import HERE, installed, node

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs" / "clients"


def examples(page: str, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


def environment(site: Site) -> dict[str, str]:
    return {**os.environ, "OPENAI_BASE_URL": site.base_url, "OPENAI_API_KEY": site.key()}


@pytest.mark.parametrize("code", examples("openai-python.md", "python"))
def test_examples_in_python_run(site: Site, code: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment(site), capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("code", examples("openai-node.md", "js"))
def test_examples_in_node_run(site: Site, code: str) -> None:
    installed()
    script = HERE / f"example-{os.getpid()}.mjs"
    script.write_text(code)
    try:
        process = node(script, OPENAI_BASE_URL=site.base_url, OPENAI_API_KEY=site.key())
        _, errors = process.communicate(timeout=300)
    finally:
        script.unlink()
    assert process.returncode == 0, errors


def test_examples_with_curl_run(site: Site, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (code,) = examples("openai-curl.md", "sh")
    ran = subprocess.run(
        ["sh", "-e", "-c", code], env=environment(site), cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("id: 5\n")
    assert '"deleted":true' in ran.stdout
    assert (tmp_path / "whole.txt").read_text().rstrip().splitlines()[-1].startswith("id: ")
