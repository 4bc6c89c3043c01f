"""The version of this release is one number, and the code of the last release can be taken from the history."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from app.domain.version import VERSION
from tests.chaos import versions
from tests.chaos.evidence import Evidence
from tests.chaos.history import Fault, History

ROOT = Path(__file__).resolve().parents[2]


def test_the_project_and_the_code_have_one_version() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)


def test_the_released_code_is_taken_from_the_history(tmp_path: Path) -> None:
    if reason := versions.missing():
        pytest.skip(reason)
    place = versions.checkout(tmp_path)
    assert (place / "wsgi.py").is_file()
    assert (place / "worker" / "celery_app.py").is_file()


def test_a_history_without_the_release_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "reference", lambda: "v99.0.0")
    assert versions.missing() == "the history of this repository has no v99.0.0"


def test_a_tag_before_this_commit_is_the_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for argv in (
        ("init", "--quiet"),
        *(("commit", "--quiet", "--allow-empty", "--message", name) for name in ("one", "two")),
        ("tag", "v0.1.0", "HEAD^"),
        ("tag", "v0.2.0", "HEAD"),
    ):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *argv], cwd=tmp_path, check=True)
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    assert versions.reference() == "v0.1.0", "the tag of this commit itself is this version"


def left_with(*answers: int) -> Evidence:
    faults = [Fault(0.0, "worker terminated", " ".join(["worker-1", *["id"] * count])) for count in answers]
    return Evidence(History(1, "rolling-update", 1, faults=faults), [], dump=None)  # type: ignore[arg-type]


def test_an_update_counts_when_answers_went_from_each_version_to_the_other() -> None:
    assert versions.handed_over(left_with(0, 2, 1, 0)) is None
    assert versions.handed_over(left_with(2, 2, 0, 0))
    assert versions.handed_over(left_with(0, 0, 1, 0))
