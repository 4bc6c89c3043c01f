"""The network of a fleet: hosts with addresses of their own, cuts in one direction, loss, and nothing left behind.

Each test runs in a process of its own, because the owner of a network moves into a namespace.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

import pytest

from dev.process import wait_until
from tests.fleet import network
from tests.fleet.network import NAMESPACES, PREFIX, Host, Network
from tests.fleet.wire import Tap, sent_from

needs_hosts = pytest.mark.skipif(network.missing() is not None, reason=str(network.missing()))
PORT = 5000
_SPAWN = multiprocessing.get_context("spawn")


def alone(test: Callable[[], None]) -> None:
    """Run a function in a process of its own. Its assertions are printed there."""
    process = _SPAWN.Process(target=test)
    process.start()
    process.join(60)
    process.kill()
    assert process.exitcode == 0


def listen(host: Host, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket on a host; it stays there, wherever the thread is later."""
    with host.entered():
        listener = socket.socket(socket.AF_INET, kind)
        listener.bind((host.address, PORT))
        if kind == socket.SOCK_STREAM:
            listener.listen()
    listener.settimeout(10)
    return listener


def connect(host: Host, other: Host) -> socket.socket:
    with host.entered():
        client = socket.socket()
    client.settimeout(1)
    client.connect((other.address, PORT))
    return client


def _one_way() -> None:
    with Network(("one", "other")) as hosts:
        listener = listen(hosts["other"])
        client = connect(hosts["one"], hosts["other"])
        server, (address, _) = listener.accept()
        server.settimeout(10)
        assert address == hosts["one"].address
        hosts.cut("other", "one")
        client.sendall(b"request")
        assert server.recv(100) == b"request"
        server.sendall(b"reply")
        with pytest.raises(TimeoutError):
            client.recv(100)
        # Silence, and no refusal: a connection attempt is not told that its way is cut.
        with pytest.raises(TimeoutError):
            connect(hosts["one"], hosts["other"])
        hosts.mend("one", "other")
        client.settimeout(10)
        assert client.recv(100) == b"reply"


def _parted() -> None:
    with Network(("one", "other", "third")) as hosts:
        listener = listen(hosts["other"])
        client = connect(hosts["one"], hosts["other"])
        server = listener.accept()[0]
        server.settimeout(1)
        hosts.part("one", "other")
        client.sendall(b"lost")
        with pytest.raises(TimeoutError):
            server.recv(100)
        assert connect(hosts["third"], hosts["other"])
        hosts["third"].unplug()
        with pytest.raises((TimeoutError, OSError)):
            connect(hosts["third"], hosts["other"])
        hosts.heal()
        server.settimeout(10)
        assert server.recv(100) == b"lost"
        assert connect(hosts["third"], hosts["other"])


def _lossy() -> None:
    with Network(("one", "other")) as hosts:
        receiver = listen(hosts["other"], socket.SOCK_DGRAM)
        receiver.settimeout(2)
        with hosts["one"].entered():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # The hosts know each other's hardware addresses from now on: a lost question for one costs a second.
        sender.sendto(b"x", (hosts["other"].address, PORT))
        assert receiver.recv(100)
        received = []

        def receive() -> None:
            with suppress(TimeoutError):
                while True:
                    received.append(receiver.recv(100))

        for spoilt in (True, False):
            if spoilt:
                hosts.spoil("one", 0.3)
            else:
                hosts.restore("one")
            received.clear()
            thread = threading.Thread(target=receive)
            thread.start()
            for _ in range(400):
                sender.sendto(b"x", (hosts["other"].address, PORT))
                time.sleep(0.001)
            thread.join(20)
            assert (200 < len(received) < 360) if spoilt else len(received) == 400, len(received)


def _tapped() -> None:
    with Network(("one", "other")) as hosts:
        tap = Tap(hosts["other"].device, PORT, {b"FENCED": "fenced"})
        listener = listen(hosts["other"])
        client = connect(hosts["one"], hosts["other"])
        server = listener.accept()[0]
        client.sendall(b"FENCED in a request")
        server.sendall(b"FENCED and FENCED")
        assert client.recv(100)
        assert wait_until(lambda: tap.counts["fenced"] == 2, 10), tap.counts
        tap.close()


def _owner(ready: Connection) -> None:
    with Network(("one",)) as hosts:
        with hosts["one"].entered():
            sleeper = _SPAWN.Process(target=time.sleep, args=(600,))
            sleeper.start()
        ready.send(sleeper.pid)
        time.sleep(600)


def namespaces_of(pid: int | None) -> list[str]:
    return [path.name for path in NAMESPACES.glob(f"{PREFIX}{pid}-*")]


@needs_hosts
@pytest.mark.parametrize("test", [_one_way, _parted, _lossy, _tapped], ids=lambda test: test.__name__)
def test_the_network_does_what_it_promises(test: Callable[[], None]) -> None:
    alone(test)


@needs_hosts
def test_a_killed_run_leaves_nothing_behind_its_successor() -> None:
    here, there = _SPAWN.Pipe()
    owner = _SPAWN.Process(target=_owner, args=(there,))
    owner.start()
    assert here.poll(60)
    sleeper = here.recv()
    network.remove_leftovers()
    assert namespaces_of(owner.pid), "the namespaces of a run that goes on stay"
    assert owner.pid
    os.kill(owner.pid, signal.SIGKILL)
    owner.join(10)
    network.remove_leftovers()
    assert not namespaces_of(owner.pid)
    assert not network._owners_file(owner.pid).exists()
    assert wait_until(lambda: not os.path.exists(f"/proc/{sleeper}/ns/net") or _is_zombie(sleeper), 5)


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_the_source_of_a_packet_is_read_from_tcp_alone() -> None:
    address = bytes([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2])
    segment = struct.pack("!HHIIBBHHH", 6379, 40_000, 1, 1, 0x50, 0, 100, 0, 0)
    assert sent_from(address + segment + b"reply") == 6379
    assert sent_from(address) is None
    assert sent_from(address[:9] + b"\x11" + address[10:] + segment) is None
    assert sent_from(b"") is None
