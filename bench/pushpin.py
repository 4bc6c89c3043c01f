"""Pushpin, a proxy that holds connections open, and an origin that subscribes each request to a channel."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from uuid import uuid4

from bench.machine import family, listens
from bench.servers import obtain
from bench.stores import CannotMeasure, Stores
from bench.tools import local
from dev.process import Process, Program, wait_until
from dev.server import free_port

# Debian's file, with sockets in a folder of the run and no log line for each message. A message_rate of 0 is no limit.
# With 2,500 and with 1,000,000, messages came up to two seconds late, at 60 a second for 30 readers.
_CONFIGURATION = """
[global]
include={{libdir}}/internal.conf
rundir={folder}
ipc_prefix=
port_offset=0
[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{port}
logdir={folder}
log_level=1
client_buffer_size=8192
client_maxconn=30000
[proxy]
routesfile=routes
sig_key=bench
zurl_out_specs=ipc://{folder}/zurl-in
zurl_out_stream_specs=ipc://{folder}/zurl-in-stream
zurl_in_specs=ipc://{folder}/zurl-out
[handler]
push_in_spec={push}
push_in_sub_specs=ipc://{folder}/push-sub
push_in_sub_connect=false
command_spec=ipc://{folder}/command
stats_spec=ipc://{folder}/stats
message_rate=0
"""


@contextmanager
def pushpin(stores: Stores) -> Iterator[tuple[int, int, str]]:
    """Start Pushpin. Yields its pid, its port and the address for messages. Raises CannotMeasure."""
    command = obtain("pushpin", lambda: shutil.which("pushpin"))
    folder, port = stores.directory / f"pushpin-{uuid4().hex[:6]}", free_port()
    folder.mkdir()
    push = f"ipc://{folder}/push"
    (folder / "pushpin.conf").write_text(_CONFIGURATION.format(folder=folder, port=port, push=push))
    with origin() as behind:
        (folder / "routes").write_text(f"* 127.0.0.1:{behind}\n")
        argv = (command, f"--config={folder}/pushpin.conf", "--merge-output")
        # Its children have process groups of their own: it has to end them itself.
        process = Program("pushpin", argv, folder / "log", local(), orphan_signal=signal.SIGTERM).start()
        try:
            if not wait_until(lambda: listens(port) and (folder / "push").exists(), 20):
                raise CannotMeasure(f"pushpin did not start: {_end(folder / 'log')}")
            yield process.pid, port, push
        finally:
            _stop(process)


def _stop(process: Process) -> None:
    members = family(process.pid)
    process.stop()
    for pid in members:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class _Held(BaseHTTPRequestHandler):
    """Answers that Pushpin shall keep the connection and send it the messages of a channel."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Hold the request; the channel has the name of the path."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Grip-Hold", "stream")
        self.send_header("Grip-Channel", self.path[1:])
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b": hi\n\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


class _Origin(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


@contextmanager
def origin() -> Iterator[int]:
    """Serve the application behind Pushpin. It answers once for each connection, before anything is measured."""
    with _Origin(("127.0.0.1", 0), _Held) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _end(log: Path) -> str:
    return log.read_text()[-300:] if log.exists() else "no log"
