"""The supervisor, with real child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dev.process import ROOT, CannotRun, Program, wait_until
from dev.supervisor import BACKOFF, Stop, Supervisor


def program(tmp_path: Path, code: str, name: str = "child") -> Program:
    return Program(name, (sys.executable, "-S", "-c", code), tmp_path / f"{name}.log", directory=tmp_path)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(said: list[str]) -> Supervisor:
    return Supervisor(said.append)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_program_is_started_again_and_it_is_said(supervisor: Supervisor, said: list[str], tmp_path: Path):
    supervisor.new_stage()
    child = supervisor.add(program(tmp_path, "import time; time.sleep(60)"))
    assert child.process is not None
    first = child.process.pid
    os.kill(first, signal.SIGKILL)
    assert supervisor.run_until(lambda: child.process is not None and child.process.pid != first, timeout=60)
    supervisor.stop()
    assert "child was killed by signal 9; starting it again in 0.2 s" in said[0]


def test_a_program_that_fails_at_once_is_started_ever_less_often(
    supervisor: Supervisor, said: list[str], tmp_path: Path
):
    supervisor.new_stage()
    supervisor.add(program(tmp_path, "raise SystemExit('the disk is full')"))
    started = time.monotonic()
    assert supervisor.run_until(lambda: sum("starting it again" in line for line in said) == 3, timeout=60)
    supervisor.stop()
    assert time.monotonic() - started >= BACKOFF.first * (1 + 2)
    assert [line.split(" in ")[1].split()[0] for line in said if "starting it again" in line] == ["0.2", "0.4", "0.8"]
    assert "the disk is full" in "\n".join(said)
    assert BACKOFF.longest == 5


def test_the_last_stage_stops_first_and_nothing_stays(supervisor: Supervisor, tmp_path: Path):
    note_when_stopped = """
import signal, sys, time
def stop(*_):
    open("order", "a").write(sys.argv[1] + " ")
    sys.exit()
signal.signal(signal.SIGTERM, stop)
open(sys.argv[1] + ".up", "w").close()
time.sleep(60)
"""
    children = []
    for name in ("store", "service"):
        supervisor.new_stage()
        path = tmp_path / f"{name}.log"
        argv = (sys.executable, "-S", "-c", note_when_stopped, name)
        children.append(supervisor.add(Program(name, argv, path, directory=tmp_path)))
    pids = [child.process.pid for child in children if child.process]
    assert wait_until(lambda: (tmp_path / "store.up").exists() and (tmp_path / "service.up").exists(), 60)
    supervisor.stop()
    assert (tmp_path / "order").read_text().split() == ["service", "store"]
    assert not any(map(is_alive, pids))


def test_a_program_that_ignores_the_request_is_killed_with_its_own_children(supervisor: Supervisor, tmp_path: Path):
    stubborn = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    open("pids", "w").write(f"{os.getpid()} {child}\\n")
time.sleep(60)
"""
    supervisor.new_stage()
    supervisor.add(program(tmp_path, stubborn))
    pids = tmp_path / "pids"
    assert wait_until(lambda: pids.exists() and pids.read_text().endswith("\n"), 60)
    supervisor.stop(patience=0.3)
    assert wait_until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()), 30)


def test_a_signal_ends_the_waiting(supervisor: Supervisor):
    threading.Timer(0.1, supervisor.request_stop).start()
    with pytest.raises(Stop):
        supervisor.run_until(lambda: False, timeout=60)


def test_a_failing_step_shows_the_end_of_its_log(supervisor: Supervisor, tmp_path: Path):
    with pytest.raises(CannotRun, match="no such table"):
        supervisor.run_once(program(tmp_path, "raise SystemExit('no such table')"), timeout=60)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_a_killed_supervisor_takes_its_children_down(tmp_path: Path):
    code = f"""
import sys, time
from pathlib import Path
from dev.process import Program
argv = (sys.executable, "-S", "-c", "import time; time.sleep(60)")
print(Program("child", argv, Path({str(tmp_path)!r}, "l")).start().pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not is_alive(pid), 30)
