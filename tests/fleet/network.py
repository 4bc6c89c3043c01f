"""Hosts of a fleet: network namespaces with an address each, behind a router that can drop what one sends another.

    with Network(("web-1", "redis")) as network:
        with network["redis"].entered():
            program.start()                       # the process lives on the host `redis`
        network.cut("redis", "web-1")             # packets from redis to web-1 vanish, those of the other way arrive
        network["web-1"].unplug()
        network.heal()

This process moves into a namespace of its own and is the router: addresses of the machine stay as they are, and two
fleets may run side by side. A bridge would need packet filters for a one-way cut; a router needs only routing rules.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from dev.process import CannotRun

CLONE_NEWNET = 0x40000000
NAMESPACES = Path("/run/netns")
PREFIX = "unbroken-fleet-"
_libc = ctypes.CDLL(None, use_errno=True)
# A program of classic BPF that drops a share of the packets: load a random number, compare, return 2 (drop) or 0.
_SLOW = ("rate", "1mbit", "burst", "8k", "latency", "300ms")
_LOSSY = "4,32 0 0 4294963256,37 1 0 {limit},6 0 0 2,6 0 0 0"


def missing() -> str | None:
    """The reason why there can be no fleet on this machine; None when there can be one."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not _finds("ip"):
        return "`ip` is not installed (apt-get install iproute2)"
    name, mark = f"{PREFIX}{os.getpid()}-probe", _mark_owner()
    try:
        _ip("netns", "add", name)
        _ip("-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two")
        _ip("-n", name, "rule", "add", "pref", "100", "from", "10.213.1.2", "to", "10.213.2.2", "blackhole")
    except CannotRun as reason:
        return f"this machine has no network namespaces: {reason}"
    finally:
        subprocess.run(("ip", "netns", "del", name), capture_output=True, check=False)
        _unmark(os.getpid(), mark)
    return None


class Host:
    """One namespace with one address. ``device`` is the router's end of its cable."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.namespace = f"{PREFIX}{os.getpid()}-{name}"
        self.device = f"host{number}"
        self.address = f"10.213.{number}.2"
        self.router = f"10.213.{number}.1"

    def make(self) -> None:
        _ip("netns", "add", self.namespace)
        _ip("link", "add", self.device, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        _ip("addr", "add", f"{self.router}/24", "dev", self.device)
        _ip("link", "set", self.device, "up")
        _ip("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", self.namespace, "link", "set", device, "up")
        _ip("-n", self.namespace, "route", "add", "default", "via", self.router)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is on this host inside the block; a process that it starts stays there."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(NAMESPACES / self.namespace, os.O_RDONLY)
        try:
            _enter(there)
            try:
                yield
            finally:
                _enter(back)
        finally:
            os.close(there)
            os.close(back)

    def unplug(self) -> None:
        """No packet leaves the host or reaches it. Its processes go on."""
        _ip("link", "set", self.device, "down")

    def plug_in(self) -> None:
        _ip("link", "set", self.device, "up")


class Network:
    """The hosts by name, and what the router does between them. Context manager, once for each process."""

    def __init__(self, names: Sequence[str]) -> None:
        self.hosts = {name: Host(name, number) for number, name in enumerate(names, 1)}
        self._cuts: set[tuple[str, str]] = set()
        self._bad: set[str] = set()

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __enter__(self) -> Network:
        remove_leftovers()
        self._mark = _mark_owner()
        if _libc.unshare(CLONE_NEWNET) != 0:
            raise CannotRun(f"no network namespace can be made: {os.strerror(ctypes.get_errno())}")
        try:
            _ip("link", "set", "lo", "up")
            for name, value in (("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/default/rp_filter", "0")):
                Path("/proc/sys/net/ipv4", name).write_text(value)
            for host in self.hosts.values():
                host.make()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self.hosts.values():
            _remove(host.namespace)
        _unmark(os.getpid(), self._mark)

    def cut(self, sender: str, receiver: str) -> None:
        """Packets from one host to another vanish without a word, also those of open connections."""
        if (sender, receiver) not in self._cuts:
            _ip("rule", "add", *self._rule(sender, receiver))
            self._cuts.add((sender, receiver))

    def _rule(self, sender: str, receiver: str) -> tuple[str, ...]:
        return "pref", "100", "from", self[sender].address, "to", self[receiver].address, "blackhole"

    def part(self, one: str, other: str) -> None:
        """A partition: nothing passes between two hosts, in either direction."""
        self.cut(one, other)
        self.cut(other, one)

    def mend(self, one: str, other: str) -> None:
        """End the cuts between two hosts, in both directions."""
        for way in {(one, other), (other, one)} & self._cuts:
            _ip("rule", "del", *self._rule(*way))
            self._cuts.discard(way)

    def spoil(self, name: str, share: float) -> str:
        """Make the cable of a host bad. Returns what it does now.

        It loses ``share`` of the packets of each direction. Where the kernel has netem it also delays them; elsewhere
        it carries 1 Mbit/s, so that packets wait in a queue.
        """
        host = self[name]
        self._bad.add(name)
        netem = ("root", "netem", "delay", "40ms", "20ms", "loss", f"{share:.1%}")
        if _tried("tc", "qdisc", "add", "dev", host.device, *netem):
            return f"{share:.0%} lost, 40 ms later"
        _tried("tc", "qdisc", "add", "dev", host.device, "root", "tbf", *_SLOW)
        program = _LOSSY.format(limit=int(share * 2**32))
        _run("tc", "qdisc", "add", "dev", host.device, "clsact")
        for way in ("ingress", "egress"):
            _run("tc", "filter", "add", "dev", host.device, way, "bpf", "bytecode", program, "da")
        return f"{share:.0%} lost, 1 Mbit/s"

    def restore(self, name: str) -> None:
        """Make a bad cable good again."""
        for kind in ("root", "clsact"):
            _tried("tc", "qdisc", "del", "dev", self[name].device, kind)
        self._bad.discard(name)

    def heal(self) -> None:
        """End every cut, partition and loss; plug in every host."""
        for way in list(self._cuts):
            self.mend(*way)
        for name in list(self._bad):
            self.restore(name)
        for host in self.hosts.values():
            host.plug_in()


def remove_leftovers() -> None:
    """Remove the namespaces of runs that were killed, and end the processes that are left in them."""
    for path in NAMESPACES.glob(f"{PREFIX}*"):
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and (mark := _lock(int(owner))) is not None:
            _remove(path.name)
            _unmark(int(owner), mark)


def _owners_file(pid: int) -> Path:
    return Path(tempfile.gettempdir(), f"{PREFIX}{pid}.lock")


def _mark_owner() -> int:
    """Lock this process's file. The kernel ends the lock with the process, whatever ends it."""
    mark = _lock(os.getpid())
    assert mark is not None, "a process owns one network"
    return mark


def _unmark(pid: int, mark: int) -> None:
    _owners_file(pid).unlink(missing_ok=True)
    os.close(mark)


def _lock(pid: int) -> int | None:
    """The descriptor of a process's locked file; None while the process has locked it."""
    descriptor = os.open(_owners_file(pid), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(namespace: str) -> None:
    """Remove a namespace and everything in it."""
    until = time.monotonic() + 5
    while (pids := _pids(namespace)) and time.monotonic() < until:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    subprocess.run(("ip", "netns", "del", namespace), capture_output=True, check=False)


def _pids(namespace: str) -> list[int]:
    shown = subprocess.run(("ip", "netns", "pids", namespace), capture_output=True, text=True, check=False).stdout
    return [pid for pid in map(int, shown.split()) if pid != os.getpid()]


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"`{' '.join(words)}`: {done.stderr.strip()}")


def _tried(*words: str) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _finds(program: str) -> bool:
    return any(Path(folder, program).exists() for folder in os.environ.get("PATH", "").split(os.pathsep))
