"""The buffer of a worker: the room of each draft and of all together is bounded, and one draft can always go on."""

from __future__ import annotations

import asyncio
from time import monotonic

from app.domain.lease import Claimed, Lease
from app.domain.transcript import Transcript
from app.eventlog.log import Keys
from worker.buffer import Buffer
from worker.draft import Draft


def a_draft() -> Draft:
    claimed = Claimed(Lease("", 1), "", "", "", "", "", {}, [], 1, False, None, 0.0, None)
    return Draft(
        claimed, Keys(b"", b"", b""), Transcript(), lambda _: None, proven_at=monotonic(), opened=True, strict=False
    )


def drafts(buffer: Buffer, count: int) -> list[Draft]:
    made = [a_draft() for _ in range(count)]
    for draft in made:
        buffer.enter(draft)
    return made


def test_what_is_not_saved_is_bounded_for_each() -> None:
    async def main() -> None:
        buffer = Buffer(10**9, 1000)
        one, other = drafts(buffer, 2)
        one.size = 1000
        assert buffer.room(one) is None
        one.size = 1001
        room = buffer.room(one)
        assert room is not None
        assert buffer.room(one) is room
        assert buffer.room(other) is None
        buffer.resume()
        assert not room.done()
        one.saved_size = 500
        buffer.resume()
        assert room.done()
        assert buffer.room(one) is None

    asyncio.run(main())


def test_the_oldest_the_largest_and_those_with_less_than_their_share_go_on() -> None:
    async def main() -> None:
        buffer = Buffer(1_000_000, 10**9)
        oldest, middle, largest, small = drafts(buffer, 4)
        oldest.size, middle.size, largest.size, small.size = 400_000, 300_000, 700_000, 200_000
        rooms = [buffer.room(draft) for draft in (oldest, middle, largest, small)]
        assert [room is None for room in rooms] == [True, False, True, True]
        assert buffer.paused == 1
        buffer.leave(largest)
        assert rooms[1] is not None
        assert rooms[1].done()

    asyncio.run(main())


def test_who_leaves_waits_no_more() -> None:
    async def main() -> None:
        buffer = Buffer(10**9, 10)
        [one] = drafts(buffer, 1)
        one.size = 11
        room = buffer.room(one)
        assert room is not None
        buffer.leave(one)
        assert room.done()
        assert buffer.room(one) is None

    asyncio.run(main())
