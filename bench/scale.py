"""A deployment used for years: the times and the query plans of the list, of a conversation and of a search.

    python -m bench.scale                       100,000 conversations, 2,000,000 messages, 2,000 users
    python -m bench.scale CONVERSATIONS=5000    smaller
    python -m bench.scale CONVERSATIONS=20000 SHARE=0.25    400,000 messages, 100,000 of them one user's

One user has a twentieth of all rows, or the SHARE given. Rows lie on disk in the order of time, as real ones do, so
that the rows of one user are scattered. Every request goes through the services, in the product's role and under its
policies. Prints the times and writes ``out/bench/scale.json``; exits with 1 when a kind of request is too slow.
"""

from __future__ import annotations

import io
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg2

from app.config import Settings
from app.domain.commands import ListConversations, Search, User
from app.wiring import Resources, build
from bench.machine import describe
from bench.report import OUT
from dev.postgres import ADMINISTRATOR, OWNER, Postgres
from tests.logins import migrate, remember

CONVERSATIONS, MESSAGES_OF_ONE, USERS = 100_000, 20, 2_000
# The part of all conversations that user 0 has.
SHARE = 0.05
# Of so many texts one has a run of letters of a script without spaces.
WIDE_EVERY = 50
# The 95th percentile may be this many milliseconds.
MOST_MS = 50.0
SAMPLES = 200
BATCH = 2_000
# The conversations cover five years, whatever their number.
START_MS, SPAN_MS = 1_600_000_000_000, 5 * 365 * 86_400_000
# For filling the database only; the measurement uses the settings of `make run`.
BUILDING = {"fsync": "off", "wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "8GB"}
TABLES = ("conversations", "messages", "generations")


@dataclass(frozen=True, slots=True)
class Figure:
    """The times of one kind of request, in milliseconds."""

    name: str
    p50: float
    p95: float
    most: float


class Corpus:
    """The users, conversations and messages of the database. Each run makes the same ones."""

    def __init__(self, conversations: int, share: float = SHARE) -> None:
        self.conversations = conversations
        dice = random.Random(1)
        syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "ar", "en", "il")]
        self.words = ["".join(dice.choices(syllables, k=dice.randint(1, 4))) for _ in range(20_000)]
        weights = [1 / (rank + 3) for rank in range(len(self.words))]
        self._texts = [" ".join(dice.choices(self.words, weights, k=dice.randint(6, 60))) for _ in range(5_000)]
        self.wide_runs = _wide_runs(len(self._texts) // WIDE_EVERY)
        for n, run in enumerate(self.wide_runs):
            self._texts[n * WIDE_EVERY] += f" {run}"
        self.owners = [0 if dice.random() < share else dice.randrange(1, USERS) for _ in range(conversations)]

    def user(self, number: int) -> User:
        """The user with this number. User 0 has the most conversations."""
        return User(_id("0", 0, number), f"user-{number}")

    def conversation_id(self, number: int) -> str:
        return _id("1", self._at(number), number)

    def _at(self, number: int) -> int:
        """The begin of a conversation, in milliseconds after the first one's."""
        return number * SPAN_MS // self.conversations

    def rows(self, first: int, last: int) -> Iterator[tuple[str, list[str]]]:
        """Lines for COPY, a list for each table at a time."""
        dice = random.Random(first)
        lines: dict[str, list[str]] = {table: [] for table in TABLES}
        for number in range(first, last):
            self._add(number, dice, lines)
        yield from lines.items()

    def _add(self, number: int, dice: random.Random, lines: dict[str, list[str]]) -> None:
        user, conversation, at = _id("0", 0, self.owners[number]), self.conversation_id(number), self._at(number)
        ids = [_id("2", at + n * 1000, number * MESSAGES_OF_ONE + n) for n in range(MESSAGES_OF_ONE)]
        when = [_time(at + n * 1000) for n in range(MESSAGES_OF_ONE)]
        title = dice.choice(self.words)
        lines["conversations"].append(
            f"{conversation}\t{user}\t{ids[0]}\t{title} {title}\t{title}\t{MESSAGES_OF_ONE}\t{when[0]}\t{when[-1]}\n"
        )
        for n, message in enumerate(ids):
            role = "assistant" if n % 2 else "user"
            text = f"{dice.choice(self._texts)} unique{number}x{n}{' needle' if dice.random() < 0.0005 else ''}"
            parent = ids[n - 1] if n else "\\N"
            lines["messages"].append(
                f"{message}\t{conversation}\t{user}\t{parent}\t{n + 1}\t{role}\tcompleted\t{text}\t{when[n]}\n"
            )
            if n % 2:
                generation = _id("3", at + n * 1000, number * MESSAGES_OF_ONE + n)
                lines["generations"].append(
                    f"{generation}\t{user}\t{conversation}\t{message}\t{parent}\t{n + 1}\toffline\tcompleted\t1\t9\t"
                    f"{'0' * 64}\t{when[n]}\t{when[n]}\n"
                )


COLUMNS = {
    "conversations": "id, user_id, first_message_id, title, preview, message_seq, created_at, last_message_at",
    "messages": "id, conversation_id, user_id, parent_id, seq, role, status, content, created_at",
    "generations": "id, user_id, conversation_id, message_id, user_message_id, seq, model, status, final_epoch,"
    " final_n, sha256, created_at, finished_at",
}


def main() -> int:
    """Build, measure, show; 1 when a kind of request is too slow."""
    wanted = dict(word.split("=", 1) for word in sys.argv[1:])
    corpus = Corpus(int(wanted.get("CONVERSATIONS", CONVERSATIONS)), float(wanted.get("SHARE", SHARE)))
    with tempfile.TemporaryDirectory(prefix="unbroken-scale-") as directory:
        seconds = _build(Path(directory), corpus)
        server = Postgres(Path(directory))
        server.start()
        try:
            figures, plans = _measure(server, corpus)
        finally:
            server.stop()
    return _show(corpus, seconds, figures, plans)


def _build(directory: Path, corpus: Corpus) -> float:
    """Fill a database. Returns the seconds that it took."""
    began = time.monotonic()
    server = Postgres(directory, settings=BUILDING)
    server.start()
    try:
        server.ensure_database()
        remember(server)
        migrate(server.url())
        with closing(administrator(server)) as connection, connection.cursor() as cursor:
            indexes = drop_indexes(cursor, TABLES)
            # A connection of a replica skips other triggers; without this one no row has words to search.
            for table in ("conversations", "messages"):
                cursor.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER keep_words")
            _copy_users(cursor, corpus)
            _copy_everything(server, corpus)
            cursor.execute("SET maintenance_work_mem = '1GB'")
            for definition in indexes:
                cursor.execute(definition)
            cursor.execute("VACUUM (ANALYZE) users, conversations, messages, generations")
    finally:
        server.stop()
    return time.monotonic() - began


def _copy_users(cursor: Any, corpus: Corpus) -> None:
    users = (corpus.user(number) for number in range(USERS))
    _copy(cursor, "users", "id, subject", [f"{user.id}\t{user.subject}\n" for user in users])


def _copy_everything(server: Postgres, corpus: Corpus) -> None:
    """Copy all rows over two connections, because PostgreSQL uses one processor for each."""
    middle = corpus.conversations // 2
    halves = [
        Thread(target=_copy_part, args=(server, corpus, first, last))
        for first, last in ((0, middle), (middle, corpus.conversations))
    ]
    for half in halves:
        half.start()
    for half in halves:
        half.join()


def _copy_part(server: Postgres, corpus: Corpus, first: int, last: int) -> None:
    with closing(administrator(server)) as connection, connection.cursor() as cursor:
        for begin in range(first, last, BATCH):
            for table, lines in corpus.rows(begin, min(begin + BATCH, last)):
                _copy(cursor, table, COLUMNS[table], lines)


def _copy(cursor: Any, table: str, columns: str, lines: list[str]) -> None:
    cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", io.StringIO("".join(lines)))


def drop_indexes(cursor: Any, tables: Sequence[str]) -> list[str]:
    """Drop the indexes that are not constraints. Returns the statements that create them again."""
    cursor.execute(
        """SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s) AND NOT EXISTS (
               SELECT FROM pg_constraint WHERE conname = indexname AND connamespace = 'public'::regnamespace)""",
        (list(tables),),
    )
    found = cursor.fetchall()
    for name, _ in found:
        cursor.execute(f"DROP INDEX {name}")
    return [definition for _, definition in found]


def administrator(server: Postgres) -> Any:
    """A connection that skips triggers and foreign keys."""
    password = server.passwords[ADMINISTRATOR]
    connection = psycopg2.connect(
        host="127.0.0.1", port=server.port, user=ADMINISTRATOR, password=password, dbname=OWNER
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
    return connection


def _measure(server: Postgres, corpus: Corpus) -> tuple[list[Figure], dict[str, str]]:
    resources = build(
        Settings(database_url=server.url(), redis_url="redis://127.0.0.1:1/0", jwt_secret="s" * 32)  # type: ignore[arg-type,call-arg]
    )
    try:
        figures, plans = [], {}
        for name, ask in _requests(resources, corpus):
            figures.append(time_it(name, ask))
            print(line(figures[-1]), flush=True)
            plans[name] = plans_of(server, resources, ask)
        return figures, plans
    finally:
        resources.close()


def _requests(resources: Resources, corpus: Corpus) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yields each kind of request with a function that sends another one at every call."""
    dice = random.Random(2)
    conversations, search = resources.conversations, resources.search.search
    heavy = corpus.user(0)

    def anybody() -> User:
        return corpus.user(dice.choice(corpus.owners))

    def open_one() -> object:
        number = dice.randrange(corpus.conversations)
        return conversations.messages(corpus.user(corpus.owners[number]), corpus.conversation_id(number), 0, 50)

    def deep() -> object:
        page = conversations.list(heavy, ListConversations(20, None))
        return conversations.list(heavy, ListConversations(20, page.next_cursor))

    yield "list, anybody", lambda: conversations.list(anybody(), ListConversations(20))
    yield "list, two pages, who has most", deep
    yield "open", open_one
    kinds: dict[str, Callable[[], str]] = {
        "most common word": lambda: corpus.words[0],
        "common word": lambda: dice.choice(corpus.words[5:50]),
        "any word": lambda: dice.choice(corpus.words),
        "two words": lambda: " ".join(dice.sample(corpus.words[:300], 2)),
        "unfinished word": lambda: dice.choice(corpus.words)[:3],
        "phrase": lambda: '"' + " ".join(dice.choices(corpus.words[:20], k=2)) + '"',
        "rare word": lambda: "needle",
        "unheard word": lambda: "xyzzy",
        "all but a word": lambda: f"-{corpus.words[0]}",
        "part of a common word": lambda: _inside(dice.choice([word for word in corpus.words[:50] if len(word) >= 5])),
        "part of a rare word": lambda: _inside("needle"),
        "two parts of words": lambda: "xyzz " + _inside(corpus.words[0] + corpus.words[1]),
        "wide letters": lambda: dice.choice(corpus.wide_runs)[2:5],
        "unheard wide letters": lambda: "東京人口",
    }

    def find(user: Callable[[], User], word: Callable[[], str]) -> object:
        return search(user(), Search(word()))

    for who, user in {"anybody": anybody, "who has most": lambda: heavy}.items():
        for kind, word in kinds.items():
            yield f"search, {kind}, {who}", partial(find, user, word)


def time_it(name: str, ask: Callable[[], object]) -> Figure:
    for _ in range(5):
        ask()
    times = []
    for _ in range(SAMPLES):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    return Figure(name, times[len(times) // 2], times[int(len(times) * 0.95)], times[-1])


def plans_of(server: Postgres, resources: Resources, ask: Callable[[], object]) -> str:
    """The plans of one request's statements, including statements inside of functions."""
    log = server.log
    begin = log.stat().st_size
    server.execute("ALTER DATABASE {} SET session_preload_libraries = 'auto_explain'", OWNER)
    for name, value in {"log_min_duration": "0", "log_nested_statements": "on", "log_analyze": "on"}.items():
        server.execute(f"ALTER DATABASE {{}} SET auto_explain.{name} = '{value}'", OWNER)
    resources.database.engine.dispose()
    ask()
    server.execute("ALTER DATABASE {} RESET ALL", OWNER)
    resources.database.engine.dispose()
    with log.open() as lines:
        lines.seek(begin)
        return "".join(line for line in lines if "set_config" not in line)


def _show(corpus: Corpus, seconds: float, figures: list[Figure], plans: dict[str, str]) -> int:
    for name, plan in plans.items():
        print(f"\n=== {name}\n{plan}")
    print(
        f"\n{describe()}: {corpus.conversations:,} conversations, {corpus.conversations * MESSAGES_OF_ONE:,} messages,"
    )
    print(f"built in {seconds:.0f} s; milliseconds of {SAMPLES} requests each:\n")
    for figure in figures:
        print(line(figure))
    body = {
        "machine": describe(),
        "conversations": corpus.conversations,
        "messages": corpus.conversations * MESSAGES_OF_ONE,
        "build_seconds": round(seconds, 1),
        "milliseconds": {f.name: {"p50": f.p50, "p95": f.p95, "max": f.most} for f in figures},
        "plans": plans,
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "scale.json").write_text(json.dumps(body, indent=1))
    slow = [figure.name for figure in figures if figure.p95 > MOST_MS]
    print(f"\nslower than {MOST_MS:.0f} ms: {', '.join(slow)}" if slow else f"\nall below {MOST_MS:.0f} ms (p95)")
    return 1 if slow else 0


def line(figure: Figure) -> str:
    return f"{figure.name:45} p50 {figure.p50:7.1f}   p95 {figure.p95:7.1f}   max {figure.most:7.1f}"


def _wide_runs(count: int) -> list[str]:
    """Runs of 10 to 40 Chinese letters, of which some are more frequent than others."""
    dice = random.Random(3)
    letters = [chr(0x4E00 + n) for n in range(1_000)]
    weights = [1 / (rank + 3) for rank in range(len(letters))]
    return ["".join(dice.choices(letters, weights, k=dice.randint(10, 40))) for _ in range(count)]


def _inside(word: str) -> str:
    """A word without its first and its last letter: no word begins with it, as far as one can tell."""
    return word[1:-1]


def _id(kind: str, at: int, number: int) -> str:
    """An id in the order of time, as uuidv7 makes them."""
    digits = f"{START_MS + at:012x}7000800{kind}{number:012x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _time(at: int) -> str:
    seconds, rest = divmod(START_MS + at, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:03}Z"


if __name__ == "__main__":
    sys.exit(main())
