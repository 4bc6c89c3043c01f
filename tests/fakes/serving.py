"""Serves an application of aiohttp: in a thread of a test, or as a process of its own. Every fake upstream uses it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self

from aiohttp import web


class Service(Protocol):
    """A server's application, and what ends its tasks and closes its files."""

    def application(self) -> web.Application: ...

    def close(self) -> None: ...


class ThreadedServer:
    """A service in a thread of its own. A subclass is a dataclass with the fields ``port`` and those of its service."""

    port: int = 0
    # The part of the address that all routes of the API have in common.
    prefix = ""

    def service(self) -> Service:
        """The service, made when the server starts."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.server: Any = self.service()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: run(self._main()), name=type(self).__name__, daemon=True)
        self._thread.start()
        if not self._ready.wait(60):
            raise RuntimeError("the fake server did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def start(self) -> Self:
        """Start without a ``with`` block."""
        return self.__enter__()

    def stop(self) -> None:
        """Stop the server and wait for its thread."""
        self.__exit__(None, None, None)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def wait_until(self, condition: Callable[[], Any], timeout: float = 20.0) -> None:
        """Wait until ``condition`` is true. Raises TimeoutError after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the fake server did not see it in time")
            time.sleep(0.002)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        runner, self.port = await listen(self.server, "127.0.0.1", self.port)
        self._ready.set()
        await self._stop.wait()
        self.server.close()
        await runner.cleanup()


def serve_for_ever(service: Service, host: str, port: int) -> None:
    """Serve until the process is ended, and print ``port N`` first."""

    async def serve() -> None:
        _, bound = await listen(service, host, port)
        print(f"port {bound}", flush=True)
        await asyncio.Event().wait()

    with suppress(KeyboardInterrupt):
        run(serve())
    service.close()


async def listen(service: Service, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Listen on a port; 0 for any free one. Returns what cleans up, and the port."""
    # aiohttp reports a client that left by cancelling the handler.
    runner = web.AppRunner(service.application(), handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=1024, reuse_address=True).start()
    return runner, runner.addresses[0][1]


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
