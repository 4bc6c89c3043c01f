"""The view of `make run`: one readable line for each line of its parts' files, and nothing that acts on a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app import log_text
from dev.log_view import MOST_BYTES, LogView, wanted
from dev.process import ROOT

ENDED = {
    "time": "2026-11-30T11:47:31.204123Z", "level": "info", "event": "generation ended", "action": "finish",
    "generation_id": "g1", "status": "completed", "seconds": 1.5, "refused": None, "detail": "two words",
}  # fmt: skip


class Place:
    """Files of a worker, PostgreSQL and Valkey, and the text that a view of them has shown."""

    def __init__(self, directory: Path, form: str = "text") -> None:
        self.files = {name: directory / f"{name}.log" for name in ("worker", "postgres", "valkey")}
        self._shown = b""
        self.view = LogView(self.files, form, self._take)

    def _take(self, block: bytes) -> None:
        self._shown += block

    def add(self, name: str, text: str) -> None:
        with self.files[name].open("a") as file:
            file.write(text)

    def shown(self) -> list[str]:
        self.view.look()
        block, self._shown = self._shown, b""
        return block.decode().splitlines()


def test_a_line_has_time_process_level_sentence_and_fields_with_the_ids_last(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.add("worker", json.dumps(ENDED) + "\n")
    fields = 'status=completed seconds=1.5 detail="two words" generation_id=g1'
    assert place.shown() == [f"11:47:31.204 worker     info     generation ended         {fields}"]


def test_lines_of_the_servers_have_their_process_and_their_level_in_the_order_of_their_times(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.add("valkey", "12:M 30 Nov 2026 10:00:02.000 # WARNING no room\n")
    place.add("postgres", "2026-11-30 10:00:01.000 UTC [7] ERROR:  no such table\n\tSELECT 1\n")
    place.add("postgres", "2026-11-30 10:00:03.000 UTC [7] LOG:  ready\n")
    assert [line.split(None, 3)[1:] for line in place.shown() if line[0] != " "] == [
        ["postgres", "error", "no such table"],
        ["valkey", "warning", "WARNING no room"],
        ["postgres", "info", "ready"],
    ]


def test_only_whole_new_lines_are_shown_also_of_a_file_that_was_replaced(tmp_path: Path) -> None:
    (tmp_path / "worker.log").write_text('{"event": "old"}\n')
    place = Place(tmp_path)
    assert place.shown() == []
    place.add("worker", '{"event": "wri')
    assert place.shown() == []
    place.add("worker", 'tten"}\n')
    assert [line.split() for line in place.shown()] == [["worker", "written"]]
    place.files["worker"].write_text("Traceback\n")
    assert [line.split() for line in place.shown()] == [["worker", "Traceback"]]


def test_a_view_that_is_behind_leaves_out_whole_lines_and_says_so(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for number in range(3):
        place.add("worker", f"{number}" * (MOST_BYTES // 2) + "\n")
    shown = place.shown()
    assert "bytes of lines are left out here; " in shown[0]
    assert str(place.files["worker"]) in shown[0]
    assert [line.split()[-1][0] for line in shown[1:]] == ["2"]
    assert place.shown() == []


def test_lines_of_json_have_their_process(tmp_path: Path) -> None:
    place = Place(tmp_path, "json")
    place.add("worker", json.dumps(ENDED) + "\nplain\n")
    first, second = map(json.loads, place.shown())
    assert first == {**ENDED, "process": "worker"}
    assert (second["event"], second["process"]) == ("plain", "worker")


@pytest.mark.parametrize(
    ("log_format", "is_terminal", "form"),
    [("", True, "text"), ("", False, None), ("json", True, "json"), ("json", False, "json"), ("text", False, "text")],
)
def test_the_terminal_decides_where_the_setting_does_not(log_format: str, is_terminal: bool, form: str | None) -> None:
    assert wanted(log_format, is_terminal) == form


@example({"time": "\x1b" * 30, "level": "\n", "\n": "\n"}, "\u202e")
@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.none(), st.lists(st.text()))), st.text())
def test_no_value_moves_the_cursor_or_adds_a_line(fields: dict[str, Any], event: str) -> None:
    shown = log_text.text({**fields, "event": event, "exception": None, "stack": None})
    assert shown.isprintable()


def test_a_traceback_stands_below_its_line() -> None:
    shown = log_text.text({**ENDED, "exception": "Traceback\n  File x\x1b[2J"}).splitlines()
    assert shown[1:] == ["    Traceback", "      File x\\u001b[2J"]


def test_a_process_writes_text_where_the_setting_says_so() -> None:
    program = """
import structlog
from app import log_lines
log_lines.install("INFO")
structlog.get_logger().info("generation ended", action="finish", status="completed", user_id="alice")
print("printed")
raise RuntimeError("of two\\nlines")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"LOG_FORMAT": "text"},
        capture_output=True,
        text=True,
        check=False,
    )
    ended, *more = done.stderr.splitlines()
    assert ended.split()[1:5] == ["info", "generation", "ended", "status=completed"]
    assert "alice" not in done.stderr
    assert done.stdout.split()[1:] == ["info", "printed"]
    assert more[0].split()[1:] == ["critical", "error", "not", "caught"]
    assert "    lines" in more
