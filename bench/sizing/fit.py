"""The line through measured points, and the costs that the lines of all parts give. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.sizing.law import Costs

Point = Mapping[str, Any]
Parts = Mapping[str, Sequence[Point]]


def least_squares(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """The factors of the columns that come closest to the values. Raises ValueError for too few different rows."""
    width = len(rows[0]) if rows else 0
    # Columns of one size: seconds beside counts of a hundred thousand would lose digits.
    scale = [max(abs(row[column]) for row in rows) or 1.0 for column in range(width)]
    scaled = [[row[column] / scale[column] for column in range(width)] for row in rows]
    matrix = [
        [
            *(sum(row[i] * row[j] for row in scaled) for j in range(width)),
            sum(row[i] * value for row, value in zip(scaled, values, strict=True)),
        ]
        for i in range(width)
    ]
    return [factor / size for factor, size in zip(_solved(matrix), scale, strict=True)]


def _solved(matrix: list[list[float]]) -> list[float]:
    """Gauss's elimination. The last column is the right side."""
    width = len(matrix)
    for column in range(width):
        best = max(range(column, width), key=lambda row: abs(matrix[row][column]))
        matrix[column], matrix[best] = matrix[best], matrix[column]
        if abs(matrix[column][column]) < 1e-12:
            raise ValueError("there are too few different points for a line")
        for row in range(width):
            if row != column:
                factor = matrix[row][column] / matrix[column][column]
                matrix[row] = [a - factor * b for a, b in zip(matrix[row], matrix[column], strict=True)]
    return [matrix[row][width] / matrix[row][row] for row in range(width)]


def line(points: Sequence[Point], up: str, *across: str) -> list[float]:
    """Intercept and slopes of ``up`` over the fields ``across``. None is below zero: no load gives time back.

    A field whose slope would fall is left out, so that the others are fitted without it.
    """
    used = list(across)
    while True:
        factors = least_squares([[1.0, *(point[name] for name in used)] for point in points], [p[up] for p in points])
        falling = [name for name, slope in zip(used, factors[1:], strict=True) if slope < 0]
        if not falling:
            break
        used = [name for name in used if name not in falling]
    slopes = dict(zip(used, factors[1:], strict=True))
    return [max(factors[0], 0.0), *(slopes.get(name, 0.0) for name in across)]


def costs_of(parts: Parts) -> Costs:
    """The costs that the points of all parts give. Raises KeyError when a part is missing."""
    return Costs(
        **_streams(parts["readers"]),
        **_proxy(parts["proxy"]),
        **_redis(parts),
        **_answers(parts["generations"]),
        **_messages(parts["messages"]),
        **_connects(parts["requests"]),
    )


def _streams(points: Sequence[Point]) -> dict[str, float]:
    idle, event, delivery = line(points, "stream_cores", "received", "delivered")
    own, reader = line(points, "memory", "readers")
    # Both ends of each connection are on the measured machine.
    _, ends = line(points, "kernel", "readers")
    moved = [point["bytes_an_event"] for point in points]
    return {
        "stream_idle": idle,
        "stream_event_us": event * 1e6,
        "stream_delivery_us": delivery * 1e6,
        "stream_bytes": own,
        "reader_bytes": reader,
        "socket_bytes": ends / 2,
        "delivery_bytes": sum(moved) / len(moved),
    }


def _proxy(points: Sequence[Point]) -> dict[str, float]:
    _, delivery = line(points, "proxy_cores", "delivered")
    _, reader = line(points, "memory", "readers")
    return {"proxy_delivery_us": delivery * 1e6, "proxy_bytes": reader}


def _redis(parts: Parts) -> dict[str, float]:
    _, process = line(parts["processes"], "redis_cores", "delivered")
    # The subscriber of the measurement is one process that receives everything.
    idle, event = line(parts["generations"], "redis_cores", "tokens")
    log, each = line(parts["messages"], "redis_log_bytes", "tokens")
    return {
        "redis_idle": idle,
        "redis_event_us": max(event - process, 0.0) * 1e6,
        "redis_process_us": process * 1e6,
        "redis_bytes": max(point["redis_bytes"] for point in parts["messages"]),
        "redis_log_bytes": log,
        "redis_event_bytes": each,
    }


def _answers(points: Sequence[Point]) -> dict[str, float]:
    idle, token = line(points, "worker_cores", "tokens")
    own, generation = line(points, "memory", "generations")
    database, row = line(points, "database_cores", "tokens")
    return {
        "worker_idle": idle,
        "worker_token_us": token * 1e6,
        "worker_bytes": own,
        "generation_bytes": generation,
        "database_idle": database,
        "database_token_us": row * 1e6,
        "session_bytes": max(point["session_bytes"] for point in points),
    }


def _messages(points: Sequence[Point]) -> dict[str, float]:
    """The cost of a message without its tokens: the lines are continued to an answer of none."""
    found: dict[str, float] = {}
    for name in ("web", "worker", "redis", "database"):
        found[f"{name}_message_us"] = line(points, f"{name}_us", "tokens")[0]
    for name in ("wal", "disk"):
        found[f"{name}_message"], found[f"{name}_token"] = line(points, name, "tokens")
    idle, own = (max(point[name] for point in points) for name in ("web_idle", "web_bytes"))
    return {**found, "web_idle": idle, "web_bytes": own}


def _connects(points: Sequence[Point]) -> dict[str, float]:
    [back] = [point for point in points if point["name"] == "come back"]
    return {"connect_us": back["web"], "redis_connect_us": back["redis"], "database_connect_us": back["postgres"]}
