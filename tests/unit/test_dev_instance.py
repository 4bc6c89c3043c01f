"""The Prometheus files of `make run` in memory: they last as long as their instance."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dev import instance
from dev.instance import Instance


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in place of /dev/shm."""
    directory = tmp_path / "shm"
    directory.mkdir()
    monkeypatch.setattr(instance, "MEMORY", directory)
    return directory


def started(directory: Path) -> Instance:
    """An instance with its directory of Prometheus files."""
    (directory / "run").mkdir(parents=True, exist_ok=True)
    one = Instance(directory)
    one.empty_metrics()
    return one


def test_a_killed_instance_whose_data_was_deleted_leaves_no_files(tmp_path: Path, memory: Path) -> None:
    gone = started(tmp_path / "gone")
    shutil.rmtree(gone.directory)
    stays = started(tmp_path / "stays")
    assert [*memory.iterdir()] == [stays.metrics.resolve()]


def test_the_files_of_a_running_instance_stay_when_another_one_starts(tmp_path: Path, memory: Path) -> None:
    first, second = started(tmp_path / "first"), started(tmp_path / "second")
    (first.metrics / "counter_1.db").write_bytes(b"x")
    started(tmp_path / "third")
    assert (first.metrics / "counter_1.db").read_bytes() == b"x"
    assert second.metrics.is_dir()
    assert len([*memory.iterdir()]) == 3


def test_a_new_run_of_an_instance_begins_without_files(tmp_path: Path, memory: Path) -> None:
    first = started(tmp_path / "data")
    (first.metrics / "counter_1.db").write_bytes(b"x")
    again = started(tmp_path / "data")
    assert [*again.metrics.glob("*.db")] == []
    assert len([*memory.iterdir()]) == 1
