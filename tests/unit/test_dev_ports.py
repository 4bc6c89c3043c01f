"""Ports for servers that are about to be started."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dev import server
from dev.process import ROOT, CannotRun

ONLY = "from dev import server; server.PORTS = range({0}, {0} + 1); print(server.free_port())"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that the kernel forgets")
def test_a_port_is_given_to_one_process_even_before_it_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    # The range has one port only, which this process and other processes draw.
    port = server.free_port()
    monkeypatch.setattr(server.random, "sample", lambda ports, count: list(ports))
    code = f"import random; random.sample = lambda ports, count: list(ports); {ONLY.format(port)}"
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "no free port" in other.stderr
    monkeypatch.setattr(server, "PORTS", range(port, port + 1))
    with pytest.raises(CannotRun):
        server.free_port()
