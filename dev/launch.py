"""Becomes another program that does not outlive its parent: `launch.py --parent PID --signal N [--as WAY] -- ARGV…`.

It is a program of its own, not a `preexec_fn`, because the supervisor has threads and code between fork and exec
must not need their locks. Standard library only; run it with `python -I -S`, which costs 15 ms.

WAY is the way from uid 0 to another user, which PostgreSQL demands:
  namespace  a user namespace in which the process is uid 1000; files keep their owner, so a mode-700 home can be read
  nobody     setuid to nobody; CAP_DAC_OVERRIDE is kept where the process has it, so a mode-700 home can be read
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522
CLONE_NEWUSER = 0x10000000
UID_INSIDE = 1000

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def prctl(option: int, *values: int) -> None:
    check(libc.prctl(option, *(ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4])))


def die_with_parent(parent: int, signal_number: int) -> None:
    """Request `signal_number` from the kernel for the parent's end. A parent that has ended counts as one that ends."""
    prctl(PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent:
        sys.exit("the parent is gone already")


def enter_namespace() -> None:
    """Enter a user namespace as uid 1000. Raises OSError where that is not allowed (the default in Docker)."""
    uid, gid = os.geteuid(), os.getegid()
    check(libc.unshare(CLONE_NEWUSER))
    maps = {"setgroups": "deny", "uid_map": f"{UID_INSIDE} {uid} 1", "gid_map": f"{UID_INSIDE} {gid} 1"}
    for name, text in maps.items():
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def become_nobody() -> None:
    nobody = pwd.getpwnam("nobody")
    prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
    os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
    keep_dac_override()


def keep_dac_override() -> None:
    """Carry CAP_DAC_OVERRIDE, and only it, through exec. Without it paths must be open to all users."""
    mask = 1 << CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    for wanted in (mask, 0):
        data = (ctypes.c_uint32 * 6)(wanted, wanted, wanted, 0, 0, 0)
        if libc.capset(header, data) == 0:
            break
    if wanted:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE)


WAYS = {"namespace": enter_namespace, "nobody": become_nobody}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--as", dest="way", choices=WAYS)
    parser.add_argument("argv", nargs="+")
    options = parser.parse_args()
    try:
        if options.way:
            WAYS[options.way]()
        # Last, because a change of credentials clears it.
        die_with_parent(options.parent, options.signal)
        os.execvp(options.argv[0], options.argv)
    except (OSError, KeyError) as error:
        sys.exit(f"{options.argv[0]}: cannot be started{' as ' + options.way if options.way else ''}: {error}")


if __name__ == "__main__":
    main()
