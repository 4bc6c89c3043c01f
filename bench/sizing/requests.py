"""The cost of single requests: a reader that comes back, a poll, a list of conversations, a search."""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from bench import connects
from bench.figures import Run
from bench.sizing.messages import Site, everybody, site
from bench.stores import CannotMeasure
from bench.tools import upstream

CLIENTS, ROUNDS, QUICK_ROUNDS = 8, 100, 20
TOKENS = 100


def requests(run: Run) -> list[dict[str, Any]]:
    """Readers that come back, then the other requests of users who have some conversations."""
    back = connects.measure("unbroken", run)
    points = [{"name": "come back", **connects.as_json(back)}]
    with upstream(200.0, TOKENS, "words") as (model, base_url), site(run.stores, base_url) as place:
        model.send("go")
        generation_id = next(iter(everybody(place, 1, 2)))
        for name, path in {
            "poll": f"/api/v1/generations/{generation_id}",
            "list": "/api/v1/conversations",
            "search": "/api/v1/search?q=offers",
        }.items():
            points.append(_cost(place, name, path, QUICK_ROUNDS if run.quick else ROUNDS))
    for point in points:
        print(
            f"  {point['name']:10} µs: web {point['web']:6.0f}  PostgreSQL {point['postgres']:5.0f}"
            f"  Redis {point['redis']:5.0f}",
            flush=True,
        )
    return points


def _cost(place: Site, name: str, path: str, rounds: int) -> dict[str, Any]:
    _send(place, path, 3)
    before = place.spent()
    _send(place, path, rounds)
    spent = [1e6 * (now - was) / (CLIENTS * rounds) for now, was in zip(place.spent(), before, strict=True)]
    web, _, redis, postgres = spent
    return {"name": name, "web": web, "redis": redis, "postgres": postgres, "total": web + redis + postgres}


def _send(place: Site, path: str, rounds: int) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda _: _client(place, path, rounds), range(CLIENTS)))


def _client(place: Site, path: str, rounds: int) -> None:
    """One user over one connection that stays open."""
    headers = {"Authorization": f"Bearer {place.stack.token('user-0')}"}
    with closing(http.client.HTTPConnection(place.netloc, timeout=60)) as connection:
        for _ in range(rounds):
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            if response.read() and response.status != 200:
                raise CannotMeasure(f"{path} was answered {response.status}")
