"""The arithmetic of a million readers, a line for each part that breaks. Pure."""

from __future__ import annotations

from bench.figures import short
from bench.sizing.law import DAY, USED, Costs, Load, connects, followed, needs, redis_used

# A million readers in the proportions of the other deployments, and a million open pages of which one in forty reads an
# answer of its own.
MILLION = (Load(1e6, 1e5, 1e8), Load(25_000, 25_000, 25e6, idle=975_000))
# Seconds between two heartbeats of a silent stream (KEEPALIVE_SECONDS), and between two renewals of its place.
HEARTBEAT, RENEWAL = 15.0, 20.0
# Bytes of the headers of TCP (with timestamps) and IPv4 on each packet.
HEADERS = 52


def arithmetic(costs: Costs) -> dict[str, str]:
    """Each part that breaks, with its arithmetic for the first of the two loads."""
    return {**_stores(costs), **_streams(costs)}


def _stores(costs: Costs) -> dict[str, str]:
    load, need = MILLION[0], needs(MILLION[0], costs)
    deliveries = followed(load, need.streams) * load.rate
    of_redis = {
        f"{load.events / 1e6:.0f} million appends": load.events * costs.redis_event_us,
        f"{_two(deliveries / 1e6)} million deliveries to processes": deliveries * costs.redis_process_us,
        f"{connects(load):,.0f} opened streams": connects(load) * costs.redis_connect_us,
        f"{load.messages_a_second:,.0f} messages": load.messages_a_second * costs.redis_message_us,
    }
    ended = load.messages_a_second * 3600 / 1e6
    peak = need.wal_a_day / DAY * load.peak / 1e6
    wal = f"{_two(need.wal_a_day / 1e12)} TB of WAL a day, {_two(peak)} MB a second at the peak"
    return {
        "Redis's memory": f"{_two(ended)} million answers end within an hour: {need.redis_memory / 1e9:,.0f} GB",
        "sessions of PostgreSQL": f"{_two(need.connections)}, and twice as many in an update",
        "the core of Redis": "in a second " + ", ".join(f"{what} ({_cores(time)})" for what, time in of_redis.items()),
        "PostgreSQL": f"{_two(need.database_cores)} planned cores; {wal}",
        "workers, upstreams": f"{need.workers} workers, {load.generations:,.0f} open requests to models",
    }


def _streams(costs: Costs) -> dict[str, str]:
    load, need = MILLION[0], needs(MILLION[0], costs)
    kernel = 3 * costs.socket_bytes
    stream = costs.reader_bytes + costs.proxy_bytes + kernel
    back = [
        _two(one * load.readers / 1e6) for one in (costs.connect_us, costs.redis_connect_us, costs.database_connect_us)
    ]
    beats = load.readers / HEARTBEAT
    headers = _two(load.readers * load.rate * HEADERS * 8 / 1e9)
    parts = f"{short(costs.proxy_bytes / 1e3)} kB of nginx, {short(costs.reader_bytes / 1e3)} of the stream process"
    return {
        "a deploy of all at once": f"processor seconds: streams {back[0]}, Redis {back[1]}, PostgreSQL {back[2]}",
        "the proxy": f"{_two(need.proxy_cores)} planned cores, two million descriptors, 62 processes of nginx or more",
        "the network": f"{_two(need.bytes_a_second * 8 / 1e9)} Gbit/s of events, {headers} of headers of TCP and IP",
        "memory of streams": f"{_two(stream * 1e6 / 1e9)} GB: {parts}, {short(kernel / 1e3)} of the kernel; no TLS",
        "heartbeats": f"{_two(beats)} a second if all streams are silent ({_cores(beats * costs.stream_delivery_us)})",
        "places of the stream quota": f"{load.readers / RENEWAL:,.0f} renewals a second if each has a user of its own",
    }


def instances(costs: Costs) -> tuple[int, int]:
    """The instances of Redis for the first load, each used half.

    First with readers spread by chance, then with one process for all readers of an answer.
    """
    load, processes = MILLION[0], needs(MILLION[0], costs).streams
    spread = redis_used(load, costs, processes)
    apart = (followed(load, processes) - load.generations) * load.rate * costs.redis_process_us / 1e6
    return round(spread / USED), round((spread - apart) / USED)


def _cores(microseconds: float) -> str:
    return f"{_two(microseconds / 1e6)} cores"


def _two(number: float) -> str:
    """Two digits: a law is not known better."""
    rounded = float(f"{number:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"
