"""`make run`: the whole service on one machine, in the order in which its parts need each other."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psycopg2

from app.domain.upstreams import Upstream
from app.ops import sign_in_link
from dev.addresses import OF_THE_OWNER, Addresses
from dev.checks import check_database, check_disk, check_redis, doubts_about_upstreams
from dev.instance import Instance, identity_from_environment
from dev.launch import die_with_parent
from dev.log_view import LogView, wanted
from dev.postgres import Postgres, reachable
from dev.process import CannotRun, Program
from dev.ready import USER as PROBE
from dev.ready import Proof
from dev.server import HOST, Server, free_port, is_free
from dev.signin import ADMIN, YOU
from dev.supervisor import Stop, Supervisor
from dev.token import mint
from dev.valkey import Valkey

DEVELOPER = "developer"
TOKEN_SECONDS = 86_400
# The worker's address is not among these: a later step may have to make its login.
PARTS = (Postgres.name, Valkey.name, "migrations", "worker", "web")
OF_THE_STORES = ("REDIS_URL", "MIGRATION_DATABASE_URL", "DATABASE_URL")


def say(line: str) -> None:
    """Print a line for the terminal, which may be gone."""
    try:
        print(line, flush=True)
    except OSError:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115


class Run:
    """One run of an instance. The methods are the steps, in their order."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.supervisor = Supervisor(say)
        self.port = choose_port(os.environ.get("PORT") or "8000")
        self.url = f"http://{HOST}:{self.port}"
        self.identity = identity_from_environment(instance.keep_jwt_secret())
        self.of_worker_alone = take_upstream_credentials(os.environ)
        self.environment = {**os.environ}
        self.environment |= {"PORT": str(self.port), "PYTHONUNBUFFERED": "1", "DATA_DIR": str(instance.directory)}
        if not self.environment.get("FILES_URL"):
            self.environment["FILES_URL"] = f"file:{instance.directory}/files"
        if self.identity.secret:
            self.environment["JWT_SECRET"] = self.identity.secret
        self.log_view = self.choose_log_view()

    def choose_log_view(self) -> LogView | None:
        """The view of the parts' lines; None where a program reads what `make run` prints. Their files stay JSON."""
        form = wanted(self.environment.get("LOG_FORMAT", ""), sys.stdout.isatty())
        if form not in ("json", "text"):
            return None  # check_settings refuses an unknown one
        self.environment["LOG_FORMAT"] = "json"
        return LogView({name: self.instance.logs / f"{name}.log" for name in PARTS}, form)

    def run(self) -> None:
        """Run until a signal. Raises CannotRun, and Stop."""
        if self.log_view:
            self.log_view.start()
        self.supervisor.listen_to_signals()
        self.supervisor.new_stage()
        self.check_given()
        servers = self.start_servers()
        # The settings are read while the servers start, because both take a moment.
        self.upstreams = check_settings(self.environment, self.of_worker_alone)
        self.await_servers(servers)
        self.migrate()
        self.supervisor.new_stage()
        self.start_services()
        self.announce()
        self.supervisor.run_for_ever()

    def check_given(self) -> None:
        """Check the given addresses and settings before anything is started. Raises CannotRun."""
        given = {name: self.environment[name] for name in OF_THE_STORES if self.environment.get(name)}
        if given:
            embedded = {"DATABASE_URL": "postgresql://embedded/", "REDIS_URL": "redis://embedded"}
            check_settings({**embedded, **self.environment, **given}, self.of_worker_alone)
        if len(given.keys() & {"DATABASE_URL", "REDIS_URL"}) < 2:
            check_disk(self.instance.directory)
        for name, url in given.items():
            if name == "REDIS_URL":
                check_redis(url)
            else:
                check_database(name, url)

    def start_servers(self) -> list[Server]:
        """Start an embedded server for each of DATABASE_URL and REDIS_URL that is not given."""
        servers: list[Server] = []
        for variable, kind in (("REDIS_URL", Valkey), ("DATABASE_URL", Postgres)):
            if not self.environment.get(variable):
                server = kind(self.instance.directory / kind.name, self.instance.logs / f"{kind.name}.log")
                self.start_server(server)
                self.environment[variable] = server.url()
                servers.append(server)
        self.addresses = self.choose_addresses(servers)
        for name in OF_THE_OWNER:
            self.environment.pop(name, None)
        self.environment["DATABASE_URL"] = self.addresses.web
        return servers

    def choose_addresses(self, servers: list[Server]) -> Addresses:
        for server in servers:
            if isinstance(server, Postgres):
                return Addresses.embedded(server)
        return Addresses.from_environment(self.environment, self.instance.secrets)

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
        owner = self.addresses.owner
        if not self.supervisor.run_until(lambda: reachable(owner), timeout=60, step=0.5):
            raise CannotRun("the database does not answer")
        migrations = self.python("migrations", {"MIGRATION_DATABASE_URL": owner}, "alembic", "upgrade", "head")
        self.supervisor.run_once(migrations, timeout=600)
        say("the database is up to date")
        self.addresses, remark = self.addresses.prepared()
        if remark:
            say(remark)
        for variables, sees_everybody in ((self.addresses.of_web(), False), (self.addresses.of_worker(), True)):
            check_isolation({**self.environment, **variables}, sees_everybody)

    def start_services(self) -> None:
        self.instance.empty_metrics()
        concurrency = self.environment.get("WORKER_CONCURRENCY") or "200"
        level = self.environment.get("LOG_LEVEL") or "INFO"
        celery = ["celery", "--app", "worker.celery_app", "worker", "--pool", "threads", "--concurrency", concurrency]
        # The worker's name is unique among instances that share a broker, and survives a restart.
        name = ["--hostname", f"worker-{self.port}@%h", "--loglevel", level]
        celery += [*name, "--events", "--without-gossip", "--without-mingle"]
        worker = self.python("worker", {**self.addresses.of_worker(), **self.of_worker_alone}, *celery)
        # The worker verifies no tokens, so it gets no signing key.
        signing = {name for name in worker.environment if name.startswith("JWT_") or name == "HMAC_KEYS"}
        environment = {name: value for name, value in worker.environment.items() if name not in signing}
        self.supervisor.add(replace(worker, environment=environment))
        self.supervisor.add(self.python("web", self.addresses.of_web(), "gunicorn", "wsgi:app"))
        say("worker and web server started")

    def python(self, name: str, variables: dict[str, str], *module_and_arguments: str) -> Program:
        argv = (sys.executable, "-m", *module_and_arguments)
        environment = {**self.environment, "PROMETHEUS_MULTIPROC_DIR": str(self.instance.metrics), **variables}
        return Program(name, argv, self.instance.logs / f"{name}.log", environment)

    def announce(self) -> None:
        """Wait for the proof, then print address and token. Without the proof the instance goes on and tries again."""
        for doubt in doubts_about_upstreams(self.upstreams):
            say(doubt)
        proof = Proof(self.url, self.token_maker(PROBE, 600))
        proof.start()
        while not self.supervisor.run_until(lambda: proof.done, timeout=10):
            say(f"not ready yet: {proof.reason}")
        self.instance.record(self.url, self.identity, self.addresses.owner)
        say(f"ready {self.url}")
        token = self.token_maker(DEVELOPER, TOKEN_SECONDS)
        if token is None:
            say("tokens come from the owner of JWT_JWKS_URL")
        else:
            say(f"token {token()}")
        self.offer_sign_in()
        say("Open the link in a browser: it signs in as you, once. `make signin` prints another one, `make signin")
        say("USER=alice` one for somebody else. The token is for programs, for a day. Ctrl-C stops everything.")

    def offer_sign_in(self) -> None:
        """Print a link that signs the reader in, as an administrator."""
        try:
            say(f"sign in {sign_in_link.make(self.addresses.owner, self.url, YOU, ADMIN)}")
        except psycopg2.Error as error:
            say(f"no link to sign in with: {str(error).strip()}")

    def token_maker(self, user: str, ttl: int) -> Callable[[], str] | None:
        return (lambda: mint(self.identity, user, ttl=ttl)) if self.identity.secret else None


def choose_port(wanted: str) -> int:
    """The port of PORT. Raises CannotRun when it is no port, or in use."""
    if not (wanted.isascii() and wanted.isdigit() and int(wanted) < 65536):
        raise CannotRun(f"PORT must be a number from 0 to 65535, not {wanted!r}")
    if wanted == "0":
        return free_port()
    if not is_free(int(wanted)):
        raise CannotRun(f"port {wanted} on {HOST} is in use or not ours to use; choose another: make run PORT=8001")
    return int(wanted)


def take_upstream_credentials(environment: MutableMapping[str, str]) -> dict[str, str]:
    """The variables of the upstreams as they are given. ``environment`` keeps OPENAI_BASE_URL, without secrets."""
    from app.upstream_settings import is_of_worker_alone, without_secrets

    own = [name for name in environment if is_of_worker_alone(name)]
    given = {name: environment[name] for name in ("OPENAI_BASE_URL", *own) if environment.get(name)}
    for name in own:
        del environment[name]
    with suppress(ValueError):  # an address that cannot be read is refused with the other settings
        if address := given.get("OPENAI_BASE_URL"):
            environment["OPENAI_BASE_URL"] = without_secrets(address)
    return given


def check_settings(environment: dict[str, str], of_worker_alone: dict[str, str]) -> tuple[Upstream, ...]:
    """Refuse every variable that worker or web server would refuse; the upstreams. Raises CannotRun."""
    from app.config import InvalidSettings, Settings, WorkerSettings

    os.environ.update(environment)
    refused: dict[str, None] = {}
    upstreams: tuple[Upstream, ...] = ()
    try:
        Settings.load()
    except InvalidSettings as error:
        refused |= dict.fromkeys(str(error).splitlines())
    os.environ.update(of_worker_alone)
    try:
        upstreams = WorkerSettings.load().configured_upstreams
    except InvalidSettings as error:
        refused |= dict.fromkeys(str(error).splitlines())
    take_upstream_credentials(os.environ)
    if refused:
        raise CannotRun("these variables cannot be used:\n" + "\n".join(refused))
    return upstreams


def check_isolation(environment: dict[str, str], sees_everybody: bool) -> None:
    """Refuse a login that web server or worker would refuse. Raises CannotRun."""
    from app.config import Settings
    from app.ops.health import refusal

    os.environ.update(environment)
    if reason := refusal(Settings.load(), sees_everybody=sees_everybody):
        raise CannotRun(reason)


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
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"DATA_DIR {instance.directory} cannot be used: {error.strerror}{where}", file=sys.stderr)
        return 1
    finally:
        if run is not None:
            instance.stopping()
            run.supervisor.stop()
            if run.log_view:
                run.log_view.close()
        instance.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
