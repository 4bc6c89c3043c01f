"""Modules of the page in virtual time, each against a server that follows a script (node/module_cases.mjs)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from app.domain.file_kinds import WITH_TEXT

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / "app" / "web" / "static"


def run(case: str, argument: object = None) -> None:
    """Run one of the cases, which ends with an error where the modules do something else."""
    program = ["node", "--no-warnings", "--experimental-vm-modules", str(HERE / "node" / "module_cases.mjs")]
    command = [*program, str(MODULES), case, json.dumps(argument)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def test_a_poll_that_was_refused_waits_whatever_the_feed_brings() -> None:
    run("held")


def test_a_feed_that_was_refused_is_requested_again_later() -> None:
    run("refused")


def test_a_restored_server_counts_from_a_lower_number() -> None:
    run("restored")


def test_a_reply_that_grows_has_its_time_and_a_silent_one_is_given_up() -> None:
    run("slow")


def test_a_reply_without_an_end_is_given_up() -> None:
    run("endless")


def test_a_conversation_that_was_not_named_is_named_later() -> None:
    run("named")


def test_each_office_file_whose_text_is_read_can_be_sent() -> None:
    run("office", sorted(WITH_TEXT))
