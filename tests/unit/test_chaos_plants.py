"""The planted bugs fit the present code: a change of code that one of them rewrites fails here, not in a long run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.plants import PLANTS

ROOT = Path(__file__).resolve().parents[2]
PLANT = "from tests.chaos.plants import bugs; bugs.plant()"


@pytest.mark.parametrize("name", PLANTS)
def test_it_can_be_planted(name: str) -> None:
    environment = {**os.environ, "CHAOS_PLANT": name}
    ran = subprocess.run([sys.executable, "-c", PLANT], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
