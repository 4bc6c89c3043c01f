"""The cost of a token inside a worker, without the kernel: answers in turn, a real Redis, no sockets.

    python -m bench.token_path [ANSWERS] [ROUNDS]

Every round gives each answer one packet of an upstream, then waits until Redis has all events. Prints the processor
time of the loop's thread for each token, in µs: the 10th percentile and the median of the rounds.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import cast

import redis
import uvloop

from app.domain.lease import Claimed, Lease
from app.domain.transcript import Transcript
from app.eventlog.log import RedisLog
from app.store.checkpoints import Checkpoint
from dev.valkey import Valkey
from worker.buffer import Buffer
from worker.checkpoint import Part
from worker.draft import Draft
from worker.generation_trace import GenerationTraces
from worker.limits import Limits
from worker.listener import Listener
from worker.outbox import Outbox
from worker.providers.chat.completions import AnswerReader
from worker.providers.http.answer_body import sink
from worker.providers.http.direct import Connection
from worker.run_state import RunState

ANSWERS, ROUNDS = 1000, 200
# An event of the log is saved with so many others, as in a worker whose answers have 50 tokens a second.
SAVED_TOGETHER = 25
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = (
    b'{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,'
    b'"model":"bench","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,'
    b'"delta":{"content":"%b"},"logprobs":null,"finish_reason":null}],"usage":null}'
)
STAGES = ("socket to draft", "draft to Redis", "checkpoint packed")


class Socket(asyncio.Transport):
    """A transport that nothing is written to."""

    def write(self, data: object) -> None:
        """Drop the request."""

    def is_closing(self) -> bool:
        """Stay open."""
        return False


def packet(text: bytes) -> bytes:
    """A token as an upstream sends it: an event in a chunk of HTTP."""
    event = b"data: " + CHUNK % text + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


async def begin(number: int, log: RedisLog, outbox: Outbox, buffer: Buffer) -> tuple[Connection, Draft]:
    """An answer whose headers have come."""
    generation_id = f"00000000-0000-7000-8000-{number:012d}"
    claimed = Claimed(Lease(generation_id, 1), generation_id, "", "", "", "bench", {}, [], 1, False, None, 0.0, 1)
    log.open(generation_id, 1)
    draft = Draft(
        claimed, log.keys(generation_id), Transcript(), print, proven_at=time.monotonic(), opened=True, strict=False
    )
    run = RunState(
        claimed,
        GenerationTraces("bench", ()).claimed(claimed, time.time_ns()),
        asked_at=time.monotonic(),
        hesitated=False,
    )
    listener = Listener(run, draft, Limits(), outbox, buffer, lambda: None)
    connection = Connection([], 65_536)
    connection.connection_made(cast(asyncio.BaseTransport, Socket()))
    answer = connection.ask(b"")
    connection.data_received(HEAD)
    buffer.enter(draft)
    outbox.enter(draft)
    reading = asyncio.ensure_future(answer.pour(sink(answer, AnswerReader(), listener.receive)))
    await asyncio.sleep(0)
    assert not reading.done(), "the answer goes on"
    return connection, draft


async def measure(answers: int, rounds: int, url: str) -> dict[str, list[float]]:
    """The µs of each stage for each token, round by round."""
    log = RedisLog(redis.Redis.from_url(url), "bench")
    outbox = Outbox(url, log, 0.02, 1e9, cast("object", None))  # type: ignore[arg-type]  # nothing is opened again
    await outbox.start()
    buffer = Buffer(1 << 40, 1 << 40)
    begun = [await begin(number, log, outbox, buffer) for number in range(answers)]
    found: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for number in range(rounds):
        received = [packet(b" w~%d:%d:1234567890123~" % (which, number)) for which in range(answers)]
        with timed(found["socket to draft"], answers):
            for (connection, _), data in zip(begun, received, strict=True):
                connection.data_received(data)
        with timed(found["draft to Redis"], answers):
            while any(draft.pending or draft.acked < len(draft.payloads) for _, draft in begun):
                await asyncio.sleep(0.005)
        if number % SAVED_TOGETHER == SAVED_TOGETHER - 1:
            with timed(found["checkpoint packed"], answers * SAVED_TOGETHER):
                for _, draft in begun:
                    save(draft)
    await outbox.close()
    return found


def save(draft: Draft) -> Checkpoint:
    """A checkpoint of everything that is new."""
    part = Part.of(draft, time.monotonic())
    draft.saved, draft.saved_size = part.end, part.size
    return part.packed()


@contextmanager
def timed(found: list[float], tokens: int) -> Iterator[None]:
    """Add the processor time that the block takes in this thread, in µs for each token."""
    began = time.thread_time_ns()
    yield
    found.append((time.thread_time_ns() - began) / tokens / 1000)


def main() -> None:
    """Print the three stages."""
    answers, rounds = (int(word) for word in (*sys.argv[1:], *map(str, (ANSWERS, ROUNDS)[len(sys.argv) - 1 :])))
    with tempfile.TemporaryDirectory() as folder:
        valkey = Valkey(Path(folder))
        valkey.start()
        try:
            found = uvloop.run(measure(answers, rounds, valkey.url()))
        finally:
            valkey.stop()
    for stage, values in found.items():
        cuts = quantiles(values[len(values) // 10 :], n=10)
        print(f"{stage:<20} {cuts[0]:6.2f} {cuts[4]:6.2f} µs a token")


if __name__ == "__main__":
    main()
