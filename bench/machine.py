"""The cost of processes: processor seconds and memory, as the kernel counts them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGESIZE")
# The server on one core; its stores, the producer and the readers on the other.
SERVER_CORE, OTHER_CORE = 0, 1


def family(pid: int) -> list[int]:
    """The pids of a process and of all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(*pids: int) -> float:
    """User and system time of the processes and their children so far, also of children that have ended."""
    total = 0
    for pid in {member for root in pids for member in family(root)}:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))
    return total / TICK


def memory_bytes(pid: int) -> int:
    """Resident memory of the process and its children."""
    return sum(int(Path(f"/proc/{member}/statm").read_text().split()[1]) * PAGE for member in family(pid))


def shared_memory_bytes(pid: int, kind: str = "Pss") -> int:
    """Memory of the process and its children; a page that several of them have is counted once.

    The kind ``Pss_Anon`` leaves out the memory that the processes of PostgreSQL share on purpose.
    """
    found = 0
    for member in family(pid):
        lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        found += sum(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:"))
    return found * 1024


def kernel_bytes() -> int:
    """Memory that the kernel of this machine has allocated for its objects, such as sockets."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Slab:")) * 1024


def pin(pid: int, core: int) -> None:
    """Keep a process, its threads and its children on one core."""
    cores = sorted(os.sched_getaffinity(0))
    for member in family(pid):
        for thread in Path(f"/proc/{member}/task").iterdir():
            # A thread that has ended in between needs no core.
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), {cores[core % len(cores)]})


def describe() -> str:
    """One line about this machine, and how busy it was when the run began."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown processor",
    )
    return f"{os.cpu_count()} cores of {model}, load {os.getloadavg()[0]:.1f}"


def listens(port: int) -> bool:
    """True when a process on this machine listens on the port."""
    listening = f":{port:04X} 00000000:0000 0A"
    return any(listening in line for line in Path("/proc/net/tcp").read_text().splitlines())
