"""The package unbroken-client, built and installed: types, examples, cut connections, a killed worker, refusals."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import requests

from dev.client_packages import ROOT, WHEEL_SOURCE, NotBuilt, build_wheel
from tests.clients.conftest import Site
from tests.fakes.proxy import TcpProxy

pytestmark = pytest.mark.slow

SCENARIOS = Path(__file__).parent / "client_package.py"
SECONDS = 200
EXAMPLES = re.findall(r"^```python\n(.*?)^```", (WHEEL_SOURCE / "README.md").read_text(), re.DOTALL | re.MULTILINE)
EXPECTED = [
    r"\n\d{3,} characters$",
    r"^\d{3,} characters$",
    r"^\w+ \d+ [1-9]\d*\ncancelled\n422 /problems/",
    r"^completed$",
]
UNREACHABLE = re.compile(r"No matching distribution found for flit_core|Could not find a version .* flit_core")
BOTH = pytest.mark.parametrize("scenario", ["follow", "follow_async"])
# Each marked line is a mistake that the types have to find.
MISTAKES = """
from unbroken_client import Client, Event


def text(event: Event) -> str:
    if event["type"] == "token":
        return event["content"]
    return event["text"]  # mistake


client = Client("http://127.0.0.1:8000")  # mistake
client.start("Hello", on_busy="never")  # mistake
client.poll("x")["nothing"]  # mistake
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, with pytest and hypothesis for the package's own tests."""
    folder = tmp_path_factory.mktemp("environment")
    try:
        wheel = build_wheel(folder)
    except NotBuilt as error:
        # Without the registry there is nothing to build with; any other trouble is a failure.
        if UNREACHABLE.search(str(error)):
            pytest.skip(f"the registry of pip is out of reach: {str(error).splitlines()[-1]}")
        raise
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [folder / "venv" / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", wheel, "pytest", "hypothesis"], check=True, timeout=SECONDS)
    return folder / "venv" / "bin" / "python"


def run(python: Path, scenario: str, site: Site, at: Callable[[], object] = lambda: None, **variables: str) -> Any:
    """The result that a scenario prints. ``at`` is called when the scenario prints its mark."""
    environment = {**os.environ, "URL": site.web.url, "TOKEN": site.key(), **variables}
    command = [str(python), str(SCENARIOS), scenario]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.strip().isdigit():
                at()
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    return json.loads(lines[-1])


def test_the_packages_own_tests_pass(python: Path, tmp_path: Path) -> None:
    options = ["-q", "-c", os.devnull, "--rootdir", tmp_path, "-p", "no:cacheprovider"]
    command = [python, "-m", "pytest", *options, WHEEL_SOURCE / "tests"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert ran.returncode == 0, ran.stdout


def test_the_version_is_that_of_the_service() -> None:
    ours, service = (
        tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in (WHEEL_SOURCE, ROOT)
    )
    assert ours["version"] == service["version"]


def test_the_wheel_brings_httpx_and_its_licence(python: Path) -> None:
    code = (
        "from importlib.metadata import distribution as d; c = d('unbroken-client'); "
        "print(c.requires, sorted(f.name for f in c.files if f.suffix != '.pyc' and f.name in ('LICENSE', 'py.typed')))"
    )
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "['httpx2>=2.12,<3'] ['LICENSE', 'py.typed']"


def test_types_accept_the_examples_and_find_mistakes(python: Path, tmp_path: Path) -> None:
    for number, example in enumerate(EXAMPLES):
        (tmp_path / f"example{number}.py").write_text(example)
    (tmp_path / "scenarios.py").write_text(SCENARIOS.read_text())
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    options = ["--strict", "--python-executable", python, "--config-file", os.devnull]
    files = sorted(path.name for path in tmp_path.glob("*.py"))
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *files], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS
    )
    found = re.findall(r"^([\w.]+:\d+): error", ran.stdout, re.MULTILINE)
    lines = enumerate(MISTAKES.splitlines(), 1)
    assert sorted(set(found)) == sorted(f"mistakes.py:{n}" for n, line in lines if "# mistake" in line), ran.stdout


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run(python: Path, site: Site, number: int) -> None:
    environment = {**os.environ, "URL": site.web.url, "TOKEN": site.key("reader")}
    ran = subprocess.run(
        [python, "-c", EXAMPLES[number]], env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(EXPECTED[number], ran.stdout.strip()), ran.stdout[-500:]


@BOTH
def test_cut_connections_go_on_at_the_exact_event(python: Path, site: Site, scenario: str) -> None:
    with TcpProxy.before(site.web.url) as proxy:
        seen = run(python, scenario, site, proxy.cut, URL=proxy.url(site.web.url))
    assert_whole(seen, site)
    assert seen["notices"] == ["ConnectionLost"]
    assert len(seen["opens"]) == 2


def test_connections_that_break_again_and_again_are_no_end(python: Path, site: Site) -> None:
    """Each connection is reset after a few kilobytes, in the middle of a frame more often than not."""
    with TcpProxy.before(site.web.url) as proxy:
        proxy.cut_reply_after(6000)
        seen = run(python, "follow", site, URL=proxy.url(site.web.url))
    assert_whole(seen, site)
    assert len(seen["notices"]) >= 2


def test_a_silent_connection_is_given_up(python: Path, site: Site) -> None:
    with TcpProxy.before(site.web.url) as proxy:
        later = Timer(12, proxy.pass_)

        def fall_silent() -> None:
            proxy.black_hole()
            later.start()

        seen = run(python, "follow", site, fall_silent, URL=proxy.url(site.web.url), SILENCE="6")
    assert_whole(seen, site)
    assert "ConnectionLost" in seen["notices"]


@BOTH
def test_a_killed_worker_is_no_end(python: Path, site: Site, scenario: str) -> None:
    wish = json.dumps({"fake": {"tokens": 150, "rate": 30}})
    seen = run(python, scenario, site, site.kill_worker, MODEL="fake", MESSAGE=wish)
    assert_whole(seen, site)
    assert len({id.partition("-")[0] for id in seen["ids"]}) > 1, "another worker has gone on"


def test_a_reply_that_is_lost_does_not_start_a_second_answer(python: Path, site: Site) -> None:
    user = site.key("once")
    with TcpProxy.before(site.web.url) as proxy:
        proxy.drop_reply_to(lambda data: data.startswith(b"POST /api/v1/generations"))
        seen = run(python, "start", site, URL=proxy.url(site.web.url), TOKEN=user)
        assert proxy.lost_replies == 1
    assert seen["notices"] == ["ConnectionLost"]
    headers = {"Authorization": f"Bearer {user}"}
    listed = requests.get(f"{site.web.url}/api/v1/conversations", headers=headers, timeout=10).json()["items"]
    assert [conversation["id"] for conversation in listed] == [seen["conversation"]]


def test_ends_are_read_polled_and_cancelled(python: Path, site: Site) -> None:
    assert run(python, "end", site) == {
        "types": ["final"], "same": True, "polled": "snapshot", "cancelled": ["cancelled"] * 3,
    }  # fmt: skip


def test_refusals_have_the_fields_of_the_problem(python: Path, site: Site) -> None:
    seen = run(python, "refused", site)
    assert seen.pop("follow")
    assert seen == {
        "empty": ["Invalid", 422, "/problems/invalid-field", "message"], "poll": 404, "cancel": 404, "token": 401,
    }  # fmt: skip


def test_attempts_have_an_end(python: Path, site: Site) -> None:
    assert run(python, "lost", site) == {"error": "ConnectionLost", "notices": [1, 2]}


def test_a_long_retry_after_is_raised_with_its_limit(python: Path, site: Site) -> None:
    web = site.stack.web(RATELIMIT_NEW_CONVERSATIONS="2/minute")
    try:
        seen = run(python, "limit", site, URL=web.url, TOKEN=site.key("hasty"))
    finally:
        web.kill()
    assert seen == {"limit": "RATELIMIT_NEW_CONVERSATIONS", "waits": True}


def assert_whole(seen: Any, site: Site) -> None:
    """Each event of the log was received, once and in order, and each connection began behind the last one."""
    assert [after for after, _ in seen["opens"]] == [newest for _, newest in seen["opens"]]
    assert seen["ids"] == [str(entry.cursor) for entry in site.stack.read(seen["id"])]
    assert seen["text"] == site.stack.transcript(seen["id"]).text
