"""Many tabs in virtual time: elections, crashes, frozen tabs, slow channels and lost connections, by seed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / "app" / "web" / "static"
# A run of a seed takes about half a second. SEED=<number> begins with another one.
SEEDS = 16


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_every_tab_receives_each_event_once_whatever_happens_to_the_others() -> None:
    seed = int(os.environ.get("SEED", "1"))
    machine = HERE / "node" / "tabs_machine.mjs"
    command = ["node", "--no-warnings", "--experimental-vm-modules", str(machine), str(MODULES), str(seed), str(SEEDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"seed {seed}:\n{done.stdout}{done.stderr}"
