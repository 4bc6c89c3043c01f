"""Starts, follows, polls and cancels answers of an Unbroken service.

    with Client("http://127.0.0.1:8000", token) as client:
        started = client.start("Tell me about tides")
        for event in client.follow(started["generation"]["id"]):
            if event["type"] == "token":
                print(event["content"], end="", flush=True)

`AsyncClient` has the methods of `Client` as coroutines. README.md describes what a follower guarantees.
"""

from unbroken_client.aio import AsyncClient, AsyncFollower
from unbroken_client.attempts import Notice, Patience
from unbroken_client.client import Client, Follower
from unbroken_client.errors import (
    Conflict,
    ConnectionLost,
    FieldError,
    Forbidden,
    Invalid,
    LimitReached,
    NotFound,
    Problem,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnbrokenError,
)
from unbroken_client.events import Event, ToolCall
from unbroken_client.resources import Generation, Started, StartFields, Status
from unbroken_client.transcript import START, Transcript

__all__ = [
    "START",
    "AsyncClient",
    "AsyncFollower",
    "Client",
    "Conflict",
    "ConnectionLost",
    "Event",
    "FieldError",
    "Follower",
    "Forbidden",
    "Generation",
    "Invalid",
    "LimitReached",
    "NotFound",
    "Notice",
    "Patience",
    "Problem",
    "StartFields",
    "Started",
    "Status",
    "TooLarge",
    "ToolCall",
    "Transcript",
    "Unauthenticated",
    "Unavailable",
    "UnbrokenError",
]
