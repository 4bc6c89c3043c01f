"""The traffic of one host, read on the router: refusals of Redis are counted as the chaos rig's proxies count them."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from contextlib import suppress

_IPV4 = 0x0800
_TCP = 6


class Tap:
    """Counts ``marks`` in the segments that a host sends from ``port``. A segment that is sent again counts again."""

    def __init__(self, device: str, port: int, marks: dict[bytes, str]) -> None:
        self.counts: Counter[str] = Counter()
        self._port = port
        self._marks = marks
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_IPV4))
        self._socket.bind((device, _IPV4))
        self._socket.settimeout(1.0)
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="tap", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended:
            # A device that is down now and comes back later also ends a call.
            with suppress(OSError):
                packet, (_, _, kind, _, _) = self._socket.recvfrom(65_536)
                if kind != socket.PACKET_OUTGOING and sent_from(packet) == self._port:
                    for mark, name in self._marks.items():
                        self.counts[name] += packet.count(mark)

    def close(self) -> None:
        self._ended = True
        self._thread.join(3)
        self._socket.close()


def sent_from(packet: bytes) -> int | None:
    """The source port of a TCP segment in an IPv4 packet; None for another packet."""
    if len(packet) < 20 or packet[9] != _TCP:
        return None
    begin = (packet[0] & 15) * 4
    return struct.unpack_from("!H", packet, begin)[0] if len(packet) >= begin + 20 else None
