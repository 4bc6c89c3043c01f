"""`make run`: the whole service on one machine, in the order in which its parts need each other."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from dev.instance import Instance, identity_from_environment
from dev.launch import die_with_parent
from dev.postgres import Postgres, reachable
from dev.process import CannotRun, Program
from dev.ready import USER as PROBE
from dev.ready import Proof
from dev.server import HOST, Server, free_port, is_free
from dev.supervisor import Stop, Supervisor
from dev.token import mint
from dev.valkey import Valkey

DEVELOPER = "developer"
TOKEN_SECONDS = 86_400


def say(line: str) -> None:
    """A line for the person at the terminal, who may have gone away."""
    try:
        print(line, flush=True)
    except OSError:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115


class Run:
    """One life of an instance. The methods are the steps, in their order."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.supervisor = Supervisor(say)
        self.port = choose_port(os.environ.get("PORT") or "8000")
        self.url = f"http://{HOST}:{self.port}"
        self.identity = identity_from_environment(instance.keep_jwt_secret())
        self.environment = {**os.environ}
        self.environment |= {"PORT": str(self.port), "PYTHONUNBUFFERED": "1", "DATA_DIR": str(instance.directory)}
        if self.identity.secret:
            self.environment["JWT_SECRET"] = self.identity.secret

    def run(self) -> None:
        """Until somebody stops it. Raises CannotRun, and Stop."""
        self.supervisor.listen_to_signals()
        self.supervisor.new_stage()
        servers = self.start_servers()
        # While they start: reading the settings takes a moment, too.
        check_settings(self.environment)
        self.await_servers(servers)
        self.migrate()
        self.supervisor.new_stage()
        self.start_services()
        self.announce()
        self.supervisor.run_for_ever()

    def start_servers(self) -> list[Server]:
        """The embedded ones, where DATABASE_URL and REDIS_URL name no others."""
        servers: list[Server] = []
        for variable, kind in (("REDIS_URL", Valkey), ("DATABASE_URL", Postgres)):
            if not self.environment.get(variable):
                server = kind(self.instance.directory / kind.name, self.instance.logs / f"{kind.name}.log")
                self.start_server(server)
                self.environment[variable] = server.url()
                servers.append(server)
        self.environment["DATABASE_URL"] = name_driver(self.environment["DATABASE_URL"])
        return servers

    def start_server(self, server: Server) -> None:
        try:
            server.prepare()
        except PermissionError as error:
            raise CannotRun(f"{server.name}: {error}. Was this DATA_DIR made by another user?") from None
        self.supervisor.add(server.program(), server.before_start)

    def await_servers(self, servers: list[Server]) -> None:
        for server in servers:
            if not self.supervisor.run_until(server.is_ready, timeout=60):
                raise CannotRun(f"{server.name} does not answer; see {server.log}")
            say(f"{server.name} runs on port {server.port}")
            if isinstance(server, Postgres):
                server.ensure_database()

    def migrate(self) -> None:
        database = self.environment["DATABASE_URL"]
        if not self.supervisor.run_until(lambda: reachable(database), timeout=60, step=0.5):
            raise CannotRun("the database of DATABASE_URL does not answer")
        self.supervisor.run_once(self.python("migrations", "alembic", "upgrade", "head"), timeout=600)
        say("the database is up to date")

    def start_services(self) -> None:
        self.empty_metrics()
        concurrency = self.environment.get("WORKER_CONCURRENCY") or "200"
        level = self.environment.get("LOG_LEVEL") or "INFO"
        celery = ["celery", "--app", "worker.celery_app", "worker", "--pool", "threads", "--concurrency", concurrency]
        # Its name is this instance's alone, also where several share a broker, and survives a restart.
        name = ["--hostname", f"worker-{self.port}@%h", "--loglevel", level]
        self.supervisor.add(self.python("worker", *celery, *name, "--events", "--without-gossip", "--without-mingle"))
        self.supervisor.add(self.python("web", "gunicorn", "wsgi:app"))
        say("worker and web server started")

    def python(self, name: str, *module_and_arguments: str) -> Program:
        argv = (sys.executable, "-m", *module_and_arguments)
        environment = {**self.environment, "PROMETHEUS_MULTIPROC_DIR": str(self.instance.metrics)}
        return Program(name, argv, self.instance.logs / f"{name}.log", environment)

    def empty_metrics(self) -> None:
        shutil.rmtree(self.instance.metrics, ignore_errors=True)
        self.instance.metrics.mkdir(mode=0o700)

    def announce(self) -> None:
        """Wait for the proof, then say where and how. A supervisor that cannot prove it goes on trying."""
        proof = Proof(self.url, self.token_maker(PROBE, 600))
        proof.start()
        while not self.supervisor.run_until(lambda: proof.done, timeout=10):
            say(f"not ready yet: {proof.reason}")
        self.instance.record(self.url, self.identity)
        say(f"ready {self.url}")
        token = self.token_maker(DEVELOPER, TOKEN_SECONDS)
        if token is None:
            say("tokens come from the owner of JWT_JWKS_URL")
        else:
            say(f"token {token()}")
            say(f"(of {DEVELOPER}, for a day; `make token USER=alice` prints others. Ctrl-C stops everything.)")

    def token_maker(self, user: str, ttl: int) -> Callable[[], str] | None:
        return (lambda: mint(self.identity, user, ttl=ttl)) if self.identity.secret else None


def choose_port(wanted: str) -> int:
    """Raises CannotRun when it is not a port or somebody else has it."""
    if not (wanted.isascii() and wanted.isdigit() and int(wanted) < 65536):
        raise CannotRun(f"PORT must be a number from 0 to 65535, not {wanted!r}")
    if wanted == "0":
        return free_port()
    if not is_free(int(wanted)):
        raise CannotRun(f"port {wanted} on {HOST} is in use or not ours to use; choose another: make run PORT=8001")
    return int(wanted)


def name_driver(url: str) -> str:
    """SQLAlchemy wants the driver named; many people's URLs do not."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", url)


def check_settings(environment: dict[str, str]) -> None:
    """Complain now about every variable that worker and web server would not start with."""
    from app.config import InvalidSettings, Settings

    os.environ.update(environment)
    try:
        Settings.load()
    except InvalidSettings as error:
        raise CannotRun(f"these variables cannot be used:\n{error}") from None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--with-parent", action="store_true", help="stop when the process that started us ends")
    if parser.parse_args().with_parent and sys.platform == "linux":
        die_with_parent(os.getppid(), signal.SIGTERM)
    os.umask(0o077)
    instance = Instance.from_environment()
    run = None
    try:
        instance.prepare()
        instance.lock()
        instance.rotate_logs()
        run = Run(instance)
        run.run()
    except (Stop, KeyboardInterrupt):
        say("stopping")
        return 0
    except CannotRun as reason:
        print(reason, file=sys.stderr)
        return 1
    finally:
        if run is not None:
            instance.stopping()
            run.supervisor.stop()
        instance.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
