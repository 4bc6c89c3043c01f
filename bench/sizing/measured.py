"""The costs of the run that docs/sizing.md describes. A machine's own are in ``out/sizing/costs.json``."""

from __future__ import annotations

from bench.sizing.law import Costs

MEASURED = Costs(
    stream_idle=0.0655,
    stream_event_us=9.69,
    stream_delivery_us=11.3,
    stream_bytes=174000000,
    reader_bytes=2310,
    socket_bytes=4550,
    delivery_bytes=73.6,
    proxy_delivery_us=9.98,
    proxy_bytes=18500,
    redis_idle=0.0373,
    redis_event_us=6.95,
    redis_process_us=0.633,
    redis_bytes=6140000,
    redis_log_bytes=3600,
    redis_event_bytes=40.9,
    worker_idle=0.111,
    worker_token_us=32.3,
    worker_bytes=126000000,
    generation_bytes=214000,
    database_idle=0.0133,
    database_token_us=2.73,
    session_bytes=6040000,
    web_idle=0.006,
    web_bytes=171000000,
    web_message_us=23000,
    worker_message_us=23900,
    redis_message_us=1730,
    database_message_us=36400,
    wal_message=12700,
    wal_token=44.1,
    disk_message=6470,
    disk_token=22.8,
    connect_us=2410,
    redis_connect_us=328,
    database_connect_us=500,
)
