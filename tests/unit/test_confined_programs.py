"""The programs that decode files of users read no secret of the process that started them, and write nothing."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from app.files import thumbnail_program
from worker.file_texts import child

# Root may read the memory of all processes, so that the parent of the programs is somebody else here.
TRY = """
import ctypes, os, runpy, sys
confine = runpy.run_path(sys.argv[1])["confine"]
if os.getuid() == 0:
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
parent = os.getpid()
for is_confined in (False, True):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        continue
    if is_confined:
        confine()
    for path, mode in ((f"/proc/{parent}/environ", "rb"), ("/dev/null", "wb")):
        try:
            open(path, mode).close()
            print("open", flush=True)
        except PermissionError:
            print("denied", flush=True)
    os._exit(0)
"""
HAS_LANDLOCK = sys.platform == "linux" and ctypes.CDLL(None).syscall(444, None, 0, 1) > 0


@pytest.mark.skipif(not HAS_LANDLOCK, reason="the kernel has no Landlock")
@pytest.mark.parametrize("program", [thumbnail_program.__file__, child.__file__])
def test_a_program_reads_no_environment_of_its_parent_and_writes_no_file(program: str) -> None:
    command = [sys.executable, "-I", "-B", "-c", TRY, program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["open", "open", "denied", "denied"], done.stdout + done.stderr
