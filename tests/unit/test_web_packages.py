"""The packages that the page loads from npm: pinned with their sums, installed whole or not at all."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from dev.web_packages import STAMP, WEB, NotInstalled, install, is_current, main

KATEX = ("LICENSE", "dist/katex.min.js", "dist/katex.min.css", "dist/contrib/mhchem.min.js", "dist/fonts/A.woff2")
MERMAID = ("LICENSE", "dist/mermaid.min.js")
SERVED = {"mermaid/LICENSE", "mermaid/mermaid.min.js"} | {
    f"katex/{name}" for name in ("LICENSE", "katex.min.js", "katex.min.css", "mhchem.min.js", "fonts/A.woff2")
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "npm"
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        (folder / name).write_text("{}")
    return folder


def npm(folder: Path, name: str, *lines: str) -> list[str]:
    """A program in the place of npm that runs these lines of a shell in the folder of the lock file."""
    program = folder / name
    program.write_text("#!/bin/sh\nset -e\n" + "\n".join(lines) + "\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return [str(program)]


def brings(folder: Path, *files: str) -> list[str]:
    """An npm that installs Mermaid, and a KaTeX of these files."""
    places = [f"node_modules/katex/{file}" for file in (*files, "src/unused.js")]
    places += [f"node_modules/mermaid/{file}" for file in MERMAID]
    lines = ["test -f package-lock.json"]
    lines += [f"mkdir -p {Path(place).parent} && echo {place} > {place}" for place in places]
    return npm(folder, "npm-that-works", *lines)


def files(target: Path) -> set[str]:
    return {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()} - {STAMP}


def test_the_lock_file_pins_each_package_with_its_sum_and_names_no_registry() -> None:
    lock = (WEB / "npm" / "package-lock.json").read_text()
    wanted = json.loads((WEB / "npm" / "package.json").read_text())["dependencies"]
    packages = {place: package for place, package in json.loads(lock)["packages"].items() if place}
    assert {place.removeprefix("node_modules/"): each["version"] for place, each in packages.items()}.items() >= (
        wanted.items()
    )
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    assert "resolved" not in lock


def test_the_served_files_are_copied_and_a_current_install_is_kept(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "packages"
    install(source, target, [brings(tmp_path, *KATEX)])
    assert files(target) == SERVED
    assert is_current(source, target)
    (source / "package-lock.json").write_text('{"another": 1}')
    assert not is_current(source, target)
    install(source, target, [brings(tmp_path, *KATEX[:-1], "dist/fonts/B.woff2")])
    assert files(target) == SERVED - {"katex/fonts/A.woff2"} | {"katex/fonts/B.woff2"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["npm", "npm-that-works", "packages"]


def test_the_second_npm_is_used_where_the_first_fails(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "packages"
    broken = npm(tmp_path, "npm-that-fails", "echo 'npm error code ENOTFOUND' >&2", "exit 1")
    install(source, target, [broken, brings(tmp_path, *KATEX)])
    assert files(target) == SERVED


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["echo 'npm warn old' >&2", "echo 'npm error code E1' >&2", "exit 1"], "npm says: npm error code E1"),
        (["mkdir -p node_modules/katex"], "katex has no LICENSE"),
    ],
)
def test_a_failed_install_leaves_what_was_there(tmp_path: Path, source: Path, lines: list[str], reason: str) -> None:
    target = tmp_path / "packages"
    install(source, target, [brings(tmp_path, *KATEX)])
    with pytest.raises(NotInstalled, match=reason):
        install(source, target, [npm(tmp_path, "broken", *lines)])
    assert files(target) == SERVED


def test_without_npm_a_sentence_says_what_becomes_of_formulas(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dev.web_packages.find_npm", list)
    main(source, tmp_path / "packages")
    assert "shown as they are written" in (told := capfd.readouterr().err)
    assert "npm is not installed here" in told
    assert not (tmp_path / "packages").exists()
