"""The package unbroken-stream, packed and installed: its types, its examples, and answers whose connection is cut."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev.client_packages import NPM_SOURCE, ROOT, collect, modules, pack
from tests.clients import node
from tests.clients.conftest import Site
from tests.fakes.proxy import TcpProxy

pytestmark = pytest.mark.slow

SCRIPT = node.HERE / "stream_package.mjs"
SECONDS = 200
EXAMPLES = re.findall(r"^```ts\n(.*?)^```", (NPM_SOURCE / "README.md").read_text(), re.DOTALL | re.MULTILINE)
STRICT = ("--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom,dom.iterable")
# Each line is a mistake that the types have to find.
MISTAKES = """
import { begin, follow, type StreamEvent } from 'unbroken-stream';
import { SharedConnection } from 'unbroken-stream/tabs';

// @ts-expect-error: without a message
begin({ url: '/api/v1/generations', body: { model: 'offline' } });
// @ts-expect-error: without an address
follow({ onEvent: () => {} });
// @ts-expect-error: a connection without a name
new SharedConnection({ url: '/api/v1', onEvent: () => {}, onMissed: () => {} });
export function text(event: StreamEvent): string {
  // @ts-expect-error: not each event has a text
  if (event.type !== 'snapshot') return event.text;
  return event.text;
}
// @ts-expect-error: the end may come later
export const reason: string = follow({ url: '/' }).finished.reason;
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program's folder with the package, its examples in TypeScript, and the script of the scenarios."""
    binary, npm = node.binaries()
    folder = tmp_path_factory.mktemp("program")
    archive = pack(tmp_path_factory.mktemp("archive"))
    (folder / "package.json").write_text('{"type": "module", "private": true}')
    install = [str(binary), str(npm), "install", "--offline", "--no-audit", "--no-fund", str(archive)]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=SECONDS)
    for number, example in enumerate(EXAMPLES):
        (folder / f"example{number}.ts").write_text(example)
    (folder / "mistakes.ts").write_text(MISTAKES)
    shutil.copy(SCRIPT, folder)
    return folder


def run(folder: Path, scenario: str, site: Site, at: Callable[[], object] = lambda: None, **variables: str) -> Any:
    """The result that a scenario prints. ``at`` is called when the scenario prints its mark."""
    process = node.node(folder / SCRIPT.name, scenario, **{"URL_": site.web.url, "TOKEN": site.key(), **variables})
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.strip().isdigit():
                at()
        _, errors = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return json.loads(lines[-1])


def test_the_archive_has_the_modules_of_the_page_and_their_types(folder: Path) -> None:
    package = folder / "node_modules" / "unbroken-stream"
    others = {"package.json", "README.md", "LICENSE", "stream.d.ts", "tabs.d.ts"}
    assert {path.name for path in package.iterdir()} == {*modules(), *others}
    for name, source in modules().items():
        assert (package / name).read_bytes() == source.read_bytes()


def test_no_module_needs_the_page(tmp_path: Path) -> None:
    collect(tmp_path / "package")
    about_the_page = re.compile(r"unbroken\.session|\bdocument\.(?!hidden)|getElementById|/static/|(?<!\.)\blocation\b")
    for name in modules():
        code = re.sub(r"/\*\*.*?\*/", "", (tmp_path / "package" / name).read_text(), flags=re.DOTALL)
        assert about_the_page.findall(code) == [], name


def test_the_version_is_that_of_the_service() -> None:
    service = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert json.loads((NPM_SOURCE / "package.json").read_text())["version"] == service


def test_examples_and_mistakes_are_as_the_types_say(folder: Path) -> None:
    node.installed()
    binary, _ = node.binaries()
    compiler = node.HERE / "node_modules" / "typescript" / "bin" / "tsc"
    files = [path.name for path in sorted(folder.glob("*.ts"))]
    assert len(files) == len(EXAMPLES) + 1 == 4
    command = [str(binary), str(compiler), *STRICT, *files]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    assert ran.returncode == 0, ran.stdout


def test_types_name_what_the_modules_export(folder: Path, site: Site) -> None:
    exported = run(folder, "names", site)
    declared = re.compile(r"^export (?:function|class|const) (\w+)", re.MULTILINE)
    assert exported == {
        ".": sorted(declared.findall((NPM_SOURCE / "stream.d.ts").read_text())),
        "./tabs": sorted(declared.findall((NPM_SOURCE / "tabs.d.ts").read_text())),
    }


def test_the_examples_run(folder: Path, site: Site) -> None:
    assert run(folder, "examples", site, MODEL="offline-fast") == {
        "asked": True, "reason": "done", "again": "done", "sent": True,
    }  # fmt: skip


def test_a_cut_connection_goes_on_at_the_exact_event(folder: Path, site: Site) -> None:
    with TcpProxy.before(site.web.url) as proxy:
        seen = run(folder, "interrupted", site, proxy.cut, URL_=proxy.url(site.web.url))
    assert_whole(seen, site)
    (first, _, _), (method, cursor, newest), *more = seen["requests"]
    assert (first, method, more) == ("POST", "GET", [])
    assert cursor == newest
    assert cursor in seen["ids"][19:-1], "it was cut in the middle"
    assert "waiting" in seen["states"] or seen["states"].count("connecting") == 2


def test_without_streams_the_answer_is_polled(folder: Path, site: Site) -> None:
    seen = run(folder, "polled", site)
    assert_whole(seen, site)
    assert "polling" in seen["states"]


def test_a_killed_worker_is_no_end(folder: Path, site: Site) -> None:
    wish = json.dumps({"fake": {"tokens": 150, "rate": 30}})
    seen = run(folder, "interrupted", site, site.kill_worker, MODEL="fake", MESSAGE=wish)
    assert_whole(seen, site)
    assert len({id.partition("-")[0] for id in seen["ids"]}) > 1, "another worker has gone on"


def test_a_refusal_has_the_words_of_the_service(folder: Path, site: Site) -> None:
    seen = run(folder, "refused", site)
    assert seen["reason"] == "refused"
    assert "message" in seen["detail"]


def assert_whole(seen: Any, site: Site) -> None:
    """Each event of the log was received, once and in order."""
    assert seen["reason"] == "done"
    assert seen["ids"] == [str(entry.cursor) for entry in site.stack.read(seen["generation"])]
    assert seen["text"] == site.stack.transcript(seen["generation"]).text
