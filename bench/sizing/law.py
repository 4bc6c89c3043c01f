"""The law: from a load and the cost of each unit to processes, cores, memory, WAL, disk and connections. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import ceil

DAY, MONTH_DAYS, MB = 86_400.0, 30.0, 1e6
# A process or a core is planned at this part of its time: bursts, deploys and a lost neighbour need the rest.
USED = 0.5
# Defaults of settings: WORKER_CONCURRENCY, MAX_STREAMS, DATABASE_POOL, TICK_MS.
SLOTS, MOST_STREAMS, POOL, TICKS_A_SECOND = 200, 10_000, 10, 50.0
# A log stays in Redis for an hour after its end (FINISHED_TTL_MS).
LOG_SECONDS = 3600.0
# The part of Redis's memory that is planned to be full.
FULL = 0.7
# PostgreSQL's shared_buffers in the Compose file.
BUFFERS = 256e6


@dataclass(frozen=True, slots=True)
class Load:
    """The busiest minute of a deployment, and what it keeps.

    ``readers`` are streams that follow a running answer, ``idle`` are streams on which nothing is sent, such as the
    feeds of open pages. ``messages`` are questions a day, each with one answer of ``tokens`` at ``rate`` a second.
    ``peak``: the busiest minute has so many times the messages of an average one.
    """

    readers: float
    generations: float
    messages: float
    idle: float = 0.0
    rate: float = 20.0
    tokens: float = 400.0
    peak: float = 4.0

    @property
    def events(self) -> float:
        """Events a second of all answers: tokens of one tick are one event."""
        return self.generations * min(self.rate, TICKS_A_SECOND)

    @property
    def messages_a_second(self) -> float:
        """Messages a second in the busiest minute."""
        return self.messages * self.peak / DAY


@dataclass(frozen=True, slots=True)
class Costs:
    """The measured cost of each unit. ``_us``: processor time in microseconds; ``_idle``: a part of a core at rest."""

    stream_idle: float
    stream_event_us: float
    stream_delivery_us: float
    stream_bytes: float
    reader_bytes: float
    socket_bytes: float
    delivery_bytes: float
    proxy_delivery_us: float
    proxy_bytes: float
    redis_idle: float
    redis_event_us: float
    redis_process_us: float
    redis_bytes: float
    redis_log_bytes: float
    redis_event_bytes: float
    worker_idle: float
    worker_token_us: float
    worker_bytes: float
    generation_bytes: float
    database_idle: float
    database_token_us: float
    session_bytes: float
    web_idle: float
    web_bytes: float
    web_message_us: float
    worker_message_us: float
    redis_message_us: float
    database_message_us: float
    wal_message: float
    wal_token: float
    disk_message: float
    disk_token: float
    connect_us: float
    redis_connect_us: float
    database_connect_us: float

    def __post_init__(self) -> None:
        """Raises ValueError where a process without load uses all that is planned for it: no number would be enough."""
        if max(self.stream_idle, self.worker_idle, self.web_idle) >= USED:
            raise ValueError("an idle process uses more than half of a core; the measurement was disturbed")


@dataclass(frozen=True, slots=True)
class Needs:
    """The size for a load. Cores are planned: the time used, divided by ``USED``. Bytes are decimal."""

    web: int
    streams: int
    workers: int
    web_cores: float
    stream_cores: float
    worker_cores: float
    proxy_cores: float
    redis_cores: float
    database_cores: float
    web_memory: float
    stream_memory: float
    worker_memory: float
    redis_memory: float
    database_memory: float
    wal_a_day: float
    disk_a_month: float
    connections: int
    bytes_a_second: float
    seconds_back: float

    @property
    def cores(self) -> float:
        """Planned cores of all parts."""
        own = self.web_cores + self.stream_cores + self.worker_cores
        return own + self.proxy_cores + self.redis_cores + self.database_cores

    @property
    def memory(self) -> float:
        """Bytes of memory of all parts."""
        own = self.web_memory + self.stream_memory + self.worker_memory
        return own + self.redis_memory + self.database_memory

    @property
    def beyond(self) -> list[str]:
        """The limits of a single server that the load exceeds."""
        found = []
        if self.redis_cores > 1:
            found.append(f"Redis uses one core, and {self.redis_cores:.1f} are planned")
        if self.connections * 2 > 1000:
            found.append(f"{self.connections * 2:,} connections of PostgreSQL during an update: a pooler is needed")
        return found


def needs(load: Load, costs: Costs) -> Needs:
    """The size for ``load``. More load never needs less."""
    streams = stream_processes(load, costs)
    web_used = costs.web_message_us * load.messages_a_second / 1e6
    web = max(2, ceil(web_used / (USED - costs.web_idle)) + 1)
    worker_used = (costs.worker_token_us * load.events + costs.worker_message_us * load.messages_a_second) / 1e6
    # The answers of one lost worker fit into the others.
    workers = max(2, ceil(load.generations / SLOTS), ceil(worker_used / (USED - costs.worker_idle))) + 1
    connections = (web + streams) * (2 * POOL + 1) + workers * 2 * POOL
    return Needs(
        web=web,
        streams=streams,
        workers=workers,
        web_cores=(web * costs.web_idle + web_used) / USED,
        stream_cores=(streams * costs.stream_idle + stream_seconds(load, costs, streams)) / USED,
        worker_cores=(workers * costs.worker_idle + worker_used) / USED,
        proxy_cores=load.readers * min(load.rate, TICKS_A_SECOND) * costs.proxy_delivery_us / 1e6 / USED,
        redis_cores=redis_used(load, costs, streams) / USED,
        database_cores=_database_used(load, costs) / USED,
        web_memory=web * costs.web_bytes,
        stream_memory=streams * costs.stream_bytes + _stream_bytes(load, costs),
        worker_memory=workers * costs.worker_bytes + load.generations * costs.generation_bytes,
        redis_memory=_redis_bytes(load, costs) / FULL,
        database_memory=BUFFERS + connections * costs.session_bytes,
        wal_a_day=load.messages * (costs.wal_message + load.tokens * costs.wal_token),
        disk_a_month=MONTH_DAYS * load.messages * (costs.disk_message + load.tokens * costs.disk_token),
        connections=connections,
        bytes_a_second=load.readers * min(load.rate, TICKS_A_SECOND) * costs.delivery_bytes,
        seconds_back=_seconds_back(load, costs, streams),
    )


def stream_processes(load: Load, costs: Costs) -> int:
    """The stream processes for a load, one of them spare: each is used half, and has a place for every stream."""
    low = max(1, ceil((load.readers + load.idle) / MOST_STREAMS))
    high = low
    while not carries(load, costs, high):
        low, high = high + 1, 2 * high
    # A process has less to do the more there are, so the least number is found by halves.
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if carries(load, costs, middle) else (middle + 1, high)
    return high + 1


def carries(load: Load, costs: Costs, processes: int) -> bool:
    """True when so many stream processes use at most the planned part of their time."""
    return processes * costs.stream_idle + stream_seconds(load, costs, processes) <= processes * USED


def stream_seconds(load: Load, costs: Costs, processes: int) -> float:
    """Processor seconds a second of all stream processes: events received, events sent, and streams opened."""
    rate = min(load.rate, TICKS_A_SECOND)
    received = followed(load, processes) * rate * costs.stream_event_us
    sent = load.readers * rate * costs.stream_delivery_us
    return (received + sent + connects(load) * costs.connect_us) / 1e6


def followed(load: Load, processes: int) -> float:
    """Pairs of an answer and a process that has a reader of it, when readers are spread evenly by chance."""
    if not load.generations:
        return 0.0
    apart: float = (1 - 1 / processes) ** (load.readers / load.generations)
    return min(load.generations * processes * (1 - apart), load.readers)


def connects(load: Load) -> float:
    """Streams opened a second: each reader goes to another answer when its answer has ended."""
    return load.readers * load.rate / load.tokens


def redis_used(load: Load, costs: Costs, processes: int) -> float:
    """The part of one core that Redis uses: appends, deliveries to processes, messages and connects."""
    rate = min(load.rate, TICKS_A_SECOND)
    used = load.events * costs.redis_event_us + followed(load, processes) * rate * costs.redis_process_us
    used += load.messages_a_second * costs.redis_message_us + connects(load) * costs.redis_connect_us
    return costs.redis_idle + used / 1e6


def _seconds_back(load: Load, costs: Costs, processes: int) -> float:
    """The time in which every reader can come back: the longest of the three parts that each of them needs."""
    database = max(_database_used(load, costs) / USED, 1.0)
    each = (costs.connect_us / processes, costs.redis_connect_us, costs.database_connect_us / database)
    return (load.readers + load.idle) * max(each) / 1e6 / USED


def _stream_bytes(load: Load, costs: Costs) -> float:
    """Memory of streams in their processes and in the proxy, and of the kernel for the three sockets of each."""
    return (load.readers + load.idle) * (costs.reader_bytes + costs.proxy_bytes + 3 * costs.socket_bytes)


def _database_used(load: Load, costs: Costs) -> float:
    used = load.events * costs.database_token_us + load.messages_a_second * costs.database_message_us
    return costs.database_idle + (used + connects(load) * costs.database_connect_us) / 1e6


def _redis_bytes(load: Load, costs: Costs) -> float:
    """Logs of running answers, half of their length on average, and of those that ended within the last hour."""
    events = load.generations * load.tokens / 2 + load.messages_a_second * LOG_SECONDS * load.tokens
    logs = load.generations + load.messages_a_second * LOG_SECONDS
    return costs.redis_bytes + logs * costs.redis_log_bytes + events * costs.redis_event_bytes


def load_of(text: str) -> Load:
    """The load of ``readers=5000,generations=300,messages=400000``. Raises ValueError for other fields."""
    names = [field.name for field in fields(Load)]
    given: dict[str, float] = {}
    for word in text.replace(" ", "").split(","):
        name, _, value = word.partition("=")
        if name not in names:
            raise ValueError(f"{name!r} is no field of a load; the fields are {', '.join(names)}")
        given[name] = float(value)
    if missing := [name for name in ("readers", "generations", "messages") if name not in given]:
        raise ValueError(f"{', '.join(missing)} must be given")
    if min(given.values()) < 0:
        raise ValueError("no field of a load is negative")
    return Load(**given)


def costs_from(values: Mapping[str, float]) -> Costs:
    """The costs as a file has them. Raises KeyError when one is missing."""
    return Costs(**{field.name: float(values[field.name]) for field in fields(Costs)})
