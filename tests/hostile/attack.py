"""Sends the corpus over several connections, and keeps what came back and what must not have happened."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from tests.hostile import corpus, smuggling
from tests.hostile.corpus import Hostile
from tests.hostile.material import Material
from tests.hostile.wire import Reply, Wire
from tests.stack import Web, serves

CONNECTIONS = 8
# Of the requests, those that are raw bytes.
_RAW = 0.1
# Statuses by which the framing of a request refuses it, before a credential is looked at.
REFUSED_AS_HTTP = frozenset((400, 405, 408, 411, 413, 414, 431, 501, 505))
# Requests before the memory is first read; and the growth that is allowed from there on.
_WARM = 500
MOST_GROWTH_BYTES = 64 << 20
_MOST_VIOLATIONS = 20


class Attack:
    """One attack on a web server, with credentials of ``material``."""

    def __init__(self, web: Web, material: Material) -> None:
        self.material = material
        self.violations: list[str] = []
        self._web = web
        self._host = web.url.partition("://")[2]
        self._counts: Counter[tuple[str, int]] = Counter()
        self._reasons: Counter[str] = Counter()
        self._bodies: set[str] = set()
        self._secrets: set[str] = set()
        self._lock = Lock()
        self._memory = (0, 0)
        self._processes = self._workers()

    def run(self, dice: random.Random, count: int) -> None:
        """Send ``count`` requests."""
        seeds = [dice.randrange(2**63) for _ in range(count)]
        self._send(seeds[:_WARM])
        before = self._resident()
        self._send(seeds[_WARM:])
        self._memory = (before, self._resident())

    def check(self, directory: Path) -> None:
        """Look for what must not have happened: secrets in logs, an ended process, memory that has grown."""
        good = (*self.material.keys, *self.material.sessions, self.material.token())
        self._secrets |= {part for text in good for part in corpus.parts(text)}
        if len(self._bodies) > 1:
            self._violate(f"{len(self._bodies)} bodies: {sorted(self._bodies)}")
        for log in sorted(directory.rglob("*.log")):
            said = set(corpus.parts(log.read_text(errors="replace")))
            self._secrets_in(log.name, said)
        before, after = self._memory
        if after - before > MOST_GROWTH_BYTES:
            self._violate(f"the memory has grown from {before >> 20} MB to {after >> 20} MB")
        if not self._web.alive or self._workers() != self._processes or not serves(self._web.url):
            self._violate(f"the process has ended:\n{self._web.tail()}")

    def report(self) -> str:
        """The counts by kind and status, and the reasons of refusals by framing."""
        kinds = sorted({kind for kind, _ in self._counts})
        lines = [f"  {kind:18} {self._line(kind)}" for kind in kinds]
        reasons = [f"  {count:6} {reason}" for reason, count in self._reasons.most_common()]
        before, after = (size >> 20 for size in self._memory)
        memory = f"memory of the web process: {before} MB after {_WARM} requests, {after} MB at the end"
        return "\n".join([*lines, "refused as HTTP:", *reasons, memory, f"{len(self._secrets)} secrets in no log"])

    def _line(self, kind: str) -> str:
        return ", ".join(f"{status}: {n}" for (name, status), n in sorted(self._counts.items()) if name == kind)

    def _send(self, seeds: list[int]) -> None:
        parts = [seeds[n::CONNECTIONS] for n in range(CONNECTIONS)]
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            list(threads.map(self._send_all, parts))

    def _send_all(self, seeds: list[int]) -> None:
        wire = Wire(self._web.url)
        for seed in seeds:
            dice = random.Random(seed)
            try:
                if dice.random() < _RAW:
                    self._smuggle(wire, dice)
                else:
                    hostile = corpus.one(dice, self.material)
                    reply = wire.ask(self._bytes(hostile))
                    self._keep(hostile.kind, hostile.secrets, [reply], f"{hostile.fields} {hostile.path}")
            except (OSError, EOFError, ValueError) as error:
                self._violate(f"{error!r} for the request of {seed}")
        wire.close()

    def _smuggle(self, wire: Wire, dice: random.Random) -> None:
        request = smuggling.one(dice, self.material, self._host)
        replies = wire.ask_to_the_end(request)
        self._keep("smuggled", (), replies, repr(request))

    def _bytes(self, hostile: Hostile) -> bytes:
        lines = [
            f"POST {hostile.path} HTTP/1.1",
            f"Host: {self._host}",
            f"Origin: {self._web.url}",
            "Content-Length: 0",
        ]
        return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in hostile.fields), "", ""]).encode("latin-1")

    def _keep(self, kind: str, secrets: Iterable[str], replies: list[Reply], request: str) -> None:
        with self._lock:
            self._secrets.update(secrets)
            for reply in replies:
                self._counts[kind, reply.status] += 1
                self._judge(reply, request)
        if not replies:
            self._violate(f"no response to {request}")

    def _judge(self, reply: Reply, request: str) -> None:
        said = json.loads(reply.body) if reply.body else {}
        said.pop("request_id", None)
        if reply.status == 401:
            self._bodies.add(json.dumps(said, sort_keys=True))
        elif reply.status in REFUSED_AS_HTTP:
            self._reasons[f"{reply.status} {said.get('detail')}"] += 1
        else:
            self._violate(f"{reply.status} {reply.body!r} for {request}")

    def _secrets_in(self, log: str, said: set[str]) -> None:
        found = {secret for secret in self._secrets if secret in said}
        if found:
            self._violate(f"{len(found)} parts of credentials are in {log}, such as {min(found)}")

    def _violate(self, text: str) -> None:
        if len(self.violations) < _MOST_VIOLATIONS:
            self.violations.append(text)

    def _workers(self) -> list[int]:
        """The processes of the web server below its master."""
        return [int(pid) for pid in Path(f"/proc/{self._web.pid}/task/{self._web.pid}/children").read_text().split()]

    def _resident(self) -> int:
        """The resident memory of all of them, in bytes."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._workers()]
        return sum(pages) * 4096
