"""The Compose file is valid, complete, and contains no secret. tests/operating/test_services.py runs its commands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config import Settings, WorkerSettings
from tests.deploy.compose import FILE, ROOT, Missing, environment, interpolate, load

RABBITMQ = ROOT / "deploy" / "rabbitmq.compose.yml"
MONITORING = ROOT / "deploy" / "prometheus" / "monitoring.compose.yml"
SECRETS = (
    "JWT_SECRET",
    "POSTGRES_PASSWORD",
    "DATABASE_PASSWORD",
    "WEB_DATABASE_PASSWORD",
    "WORKER_DATABASE_PASSWORD",
    "VALKEY_PASSWORD",
    "FLOWER_BASIC_AUTH",
)
# The secrets of each service, and no others. Those of OPTIONAL and a broker's address may be set.
OPTIONAL = {
    "OPENAI_API_KEY": "given-openai",
    "JWT_SECRET_PREVIOUS": "given-previous",
    "OIDC_CLIENT_SECRET": "given-client-secret",
    "HMAC_KEYS": "given-keys",
    "AWS_SECRET_ACCESS_KEY": "given-bucket-secret",
    "AWS_SESSION_TOKEN": "given-bucket-token",
}
OF_HTTP = {
    "JWT_SECRET",
    "JWT_SECRET_PREVIOUS",
    "HMAC_KEYS",
    "OIDC_CLIENT_SECRET",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "WEB_DATABASE_PASSWORD",
    "VALKEY_PASSWORD",
}
HELD = {
    "nginx": set[str](),
    "web": OF_HTTP,
    "streams": OF_HTTP,
    "worker": {
        "WORKER_DATABASE_PASSWORD",
        "VALKEY_PASSWORD",
        "OPENAI_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    },
    "flower": {"VALKEY_PASSWORD", "FLOWER_BASIC_AUTH"},
    "migrate": {"DATABASE_PASSWORD", "WEB_DATABASE_PASSWORD", "WORKER_DATABASE_PASSWORD"},
    "postgres": {"POSTGRES_PASSWORD", "DATABASE_PASSWORD"},
    "valkey": {"VALKEY_PASSWORD"},
}
GIVEN = {name: f"given-{name.lower()}-{'0' * 32}" for name in SECRETS}
OURS = ("web", "streams", "worker", "flower", "migrate")
SERVING = ("web", "streams", "worker")
# Variables of other projects' programs, of gunicorn.conf.py, or of app/ops/migrate.py.
OTHERS = {
    "BIND",
    "WEB_CONCURRENCY",
    "WEB_THREADS",
    "FORWARDED_ALLOW_IPS",
    "PROMETHEUS_MULTIPROC_DIR",
    "MIGRATION_DATABASE_URL",
    "WORKER_DATABASE_URL",
}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = load(GIVEN)["services"]
    return services


@pytest.mark.parametrize("file", [FILE, RABBITMQ], ids=lambda file: file.name)
def test_the_file_follows_the_compose_specification(file: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_broken_file_would_be_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(FILE.read_text().replace("condition: service_healthy", "condition: service_happy"))
    with pytest.raises(AssertionError):
        test_the_file_follows_the_compose_specification(broken)


def test_everything_that_was_promised_is_there(services: dict[str, Any]) -> None:
    assert set(services) == {"nginx", *OURS, "postgres", "valkey"}


def test_every_service_that_stays_has_a_health_check(services: dict[str, Any]) -> None:
    without = {name for name, service in services.items() if "test" not in service.get("healthcheck", {})}
    assert without == {"migrate"}


def test_every_service_but_the_migration_comes_back(services: dict[str, Any]) -> None:
    assert {name for name, service in services.items() if service["restart"] != "unless-stopped"} == {"migrate"}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("value", [None, ""])
def test_nothing_starts_without_a_secret(name: str, value: str | None) -> None:
    given = {key: text for key, text in GIVEN.items() if key != name}
    if value is not None:
        given[name] = value
    with pytest.raises(Missing, match=f"{name} is missing"):
        load(given)


def test_no_secret_stands_in_the_files() -> None:
    """Every variable named as a secret is a reference, and no example looks like a real secret."""
    secret = re.compile(r"(?i)^\s*#?\s*-?\s*\w*(secret|password|auth|api_key|requirepass)\w*\s*[:=]\s*(?P<value>\S.*)$")
    lines = [line for file in (FILE, RABBITMQ, ROOT / ".env.example") for line in file.read_text().splitlines()]
    values = {line: found["value"] for line in lines if (found := secret.match(line))}
    assert len(values) > 5, "the names of secrets have changed"
    for line, value in values.items():
        assert re.match(r"\$\{\w+:\?|<|\*", value), line
    urls = re.findall(r"\w+://\w*:.*?@", FILE.read_text() + RABBITMQ.read_text())
    assert urls
    for url in urls:
        assert re.search(r":\$\{\w+:\?", url), url


def test_the_example_names_every_secret() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert {line.partition("=")[0] for line in lines if line and not line.startswith("#")} == set(SECRETS)


def test_the_image_holds_no_secret() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    copied = re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text())
    wanted = {name for names in copied for name in names.split()}
    assert wanted == {line.removeprefix("!") for line in ignored if line.startswith("!")}


@pytest.mark.parametrize("name", OURS)
def test_the_application_knows_every_variable_it_is_given(services: dict[str, Any], name: str) -> None:
    names = {variable for variable in services[name]["environment"] if not variable.startswith("FLOWER_")}
    settings = WorkerSettings if name == "worker" else Settings
    assert names - OTHERS <= {field.upper() for field in settings.model_fields}


@pytest.mark.parametrize("name", SERVING)
def test_every_setting_can_be_given(services: dict[str, Any], name: str) -> None:
    wanted = {field.upper() for field in (WorkerSettings if name == "worker" else Settings).model_fields}
    # Those of the upstreams stand in a file that only workers are given.
    wanted -= {"UPSTREAM_SETTINGS"}
    if name == "worker":
        wanted = {field for field in wanted if not field.startswith(("JWT_", "OIDC_", "HMAC_"))}
    assert wanted <= set(services[name]["environment"])


@pytest.mark.parametrize("name", sorted(HELD))
def test_each_service_has_its_own_secrets_and_no_others(services: dict[str, Any], name: str) -> None:
    values = {**GIVEN, **OPTIONAL}
    seen = [*environment(services[name], values).values(), *services[name].get("command", [])]
    assert {secret for secret, value in values.items() if any(value in text for text in seen)} == HELD[name]


def test_every_service_has_its_row_of_secrets(services: dict[str, Any]) -> None:
    assert set(HELD) == set(services)


def test_web_worker_and_migrations_log_in_as_three(services: dict[str, Any]) -> None:
    names = {
        name: re.match(r"postgresql\+psycopg2://(\w+):", services[service]["environment"][variable])[1]  # type: ignore[index]
        for name, service, variable in (
            ("web", "web", "DATABASE_URL"),
            ("streams", "streams", "DATABASE_URL"),
            ("worker", "worker", "DATABASE_URL"),
            ("owner", "migrate", "MIGRATION_DATABASE_URL"),
        )
    }
    assert names == {
        "web": "unbroken_web",
        "streams": "unbroken_web",
        "worker": "unbroken_worker",
        "owner": "unbroken",
    }
    assert services["migrate"]["environment"]["DATABASE_URL"] == services["web"]["environment"]["DATABASE_URL"]
    assert (
        services["migrate"]["environment"]["WORKER_DATABASE_URL"] == services["worker"]["environment"]["DATABASE_URL"]
    )


@pytest.mark.parametrize("name", SERVING)
def test_the_settings_can_be_used(services: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in WorkerSettings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    for variable, value in environment(services[name], {}).items():
        monkeypatch.setenv(variable, value)

    settings = (WorkerSettings if name == "worker" else Settings).load()

    assert settings.broker_url == settings.redis_url


def test_only_workers_are_given_the_file_of_the_upstreams(services: dict[str, Any]) -> None:
    files = {name: service["env_file"] for name, service in services.items() if "env_file" in service}
    assert files == {"worker": [{"path": "upstreams.env", "required": False}]}
    assert "upstreams.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_what_is_set_in_the_shell_is_passed_on(services: dict[str, Any]) -> None:
    assert environment(services["worker"], {"OPENAI_API_KEY": "k"})["OPENAI_API_KEY"] == "k"
    assert "OPENAI_API_KEY" not in environment(services["worker"], {})


def test_only_the_proxy_is_open_to_the_world(services: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {"nginx": ["0.0.0.0:8000:8080", "127.0.0.1:8001:8081"], "flower": ["127.0.0.1:5555:5555"]}


def test_the_stores_are_reached_from_inside_only(services: dict[str, Any]) -> None:
    assert load(GIVEN)["networks"]["inside"]["internal"] is True
    assert services["postgres"]["networks"] == services["valkey"]["networks"] == ["inside"]
    assert services["nginx"]["networks"] == ["outside"]


@pytest.mark.parametrize("name", ["nginx", *OURS])
def test_our_containers_can_write_nothing_and_become_nobody(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


def test_the_application_is_one_image_and_not_root(services: dict[str, Any]) -> None:
    assert {services[name]["image"] for name in OURS} == {"unbroken:latest"}
    assert "\nUSER 10001:10001\n" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", ["web", "streams", "worker", "flower"])
def test_nothing_starts_before_the_migrations_are_done(services: dict[str, Any], name: str) -> None:
    assert services[name]["depends_on"] == {
        "postgres": {"condition": "service_healthy"},
        "valkey": {"condition": "service_healthy"},
        "migrate": {"condition": "service_completed_successfully"},
    }


def test_what_must_survive_lies_in_named_volumes(services: dict[str, Any]) -> None:
    assert "postgres:/var/lib/postgresql" in services["postgres"]["volumes"]
    assert services["valkey"]["volumes"] == ["valkey:/data"]
    for name in SERVING:
        assert "files:/var/lib/unbroken/files" in services[name]["volumes"]
        assert services[name]["environment"]["FILES_URL"] == "file:/var/lib/unbroken/files"
    assert set(load(GIVEN)["volumes"]) == {"postgres", "valkey", "flower", "files"}


def test_what_is_mounted_from_the_repository_exists(services: dict[str, Any]) -> None:
    mounted = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    folders = [ROOT / path for path in mounted if path.startswith("./")]
    assert len(folders) == 2
    assert all(folder.is_dir() for folder in folders)


def test_postgresql_is_18_and_valkey_keeps_everything(services: dict[str, Any]) -> None:
    assert services["postgres"]["image"] == "postgres:18"
    command = " ".join(services["valkey"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_the_proxy_lets_pass_what_the_application_would_refuse() -> None:
    text = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
    found = re.search(r"client_max_body_size (\d+)m;", text)
    assert found
    assert int(found[1]) << 20 > Settings.model_fields["max_body_bytes"].default
    imports = re.search(r"location = /api/v1/conversations/import \{\s+client_max_body_size (\d+)m;", text)
    assert imports
    assert int(imports[1]) << 20 > Settings.model_fields["max_import_bytes"].default
    inline = re.findall(r"location (?:\S+ )?(\S*(?:chat|/v1/)\S*) \{[^}]*?client_max_body_size (\d+)m;", text)
    places = {place: int(most) << 20 for place, most in inline if "files" not in place and "import" not in place}
    assert len(places) == 3, places
    assert min(places.values()) > Settings.model_fields["max_inline_body_bytes"].default
    files = dict(re.findall(r"location ~ \^(\S*)\(files\$\|uploads/\) \{\s+client_max_body_size (\d+)m;", text))
    assert set(files) == {"/v1/", "/api/v1/"}
    for limit in ("max_file_bytes", "max_upload_part_bytes"):
        assert min(int(most) << 20 for most in files.values()) > Settings.model_fields[limit].default


def test_the_proxy_waits_longer_than_an_answer_may_take() -> None:
    text = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
    waits = re.findall(r"proxy_read_timeout (\w+);\s+include streaming.conf;", text)
    assert waits == ["75s", "1h"] * 2, "streams, then answers that may be held back; and the second try of each"
    assert Settings.model_fields["keepalive_seconds"].default * 4 < 75
    assert Settings.model_fields["generation_timeout"].default < 3600


def test_the_upstreams_are_services_of_the_file(services: dict[str, Any]) -> None:
    for group in ("web", "streams"):
        text = (ROOT / "deploy" / "nginx" / "upstreams" / f"{group}.conf").read_text()
        names = re.findall(r"(?m)^server (\w+):8000 resolve.*;$", text)
        assert names[0] == group
        assert set(names) == {"web", "streams"}
        assert services[group]["environment"]["BIND"] == "0.0.0.0:8000"


def test_rabbitmq_reaches_everybody_who_speaks_to_the_broker() -> None:
    over = load({"RABBITMQ_PASSWORD": "p"}, RABBITMQ)["services"]
    assert set(over) == {"web", "streams", "worker", "flower", "rabbitmq"}
    for name in ("web", "streams", "worker", "flower"):
        assert over[name]["environment"]["CELERY_BROKER_URL"] == "amqp://unbroken:p@rabbitmq:5672//"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "a"),
        ("x${A:-b}y", "xay"),
        ("${B:-b}", "b"),
        ("${E:-b}", "b"),
        ("${E-b}", ""),
        ("${A:?no}", "a"),
        ("$$(hostname)", "$(hostname)"),
        ("${B}", ""),
    ],
)
def test_variables_are_put_in_as_compose_does(text: str, value: str) -> None:
    assert interpolate(text, {"A": "a", "E": ""}) == value


def test_prometheus_and_grafana_find_their_files_and_listen_on_loopback() -> None:
    services = load({"GRAFANA_PASSWORD": "x"}, MONITORING)["services"]
    for service in services.values():
        mounted = [volume.split(":")[0] for volume in service["volumes"] if volume.startswith("./")]
        assert mounted
        assert [path for path in mounted if not (ROOT / path).exists()] == []
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    found = {name: one["dns_sd_configs"][0] for one in scraped for name in one["dns_sd_configs"][0]["names"]}
    whole = load(GIVEN)["services"]
    assert {name: one["port"] for name, one in found.items()} == {"web": 8000, "streams": 8000, "worker": 9100}
    assert {"outside"} <= set(whole["worker"]["networks"]) & set(whole["web"]["networks"])
    assert whole["worker"]["environment"]["WORKER_METRICS_PORT"] == "9100"


def test_the_files_are_yaml_without_surprises() -> None:
    """`yes`, `no` and numbers of a command must be texts."""
    for service in yaml.safe_load(FILE.read_text())["services"].values():
        assert all(isinstance(word, str) for word in service["command"])
        assert all(isinstance(word, str) for word in service["healthcheck"].get("test", []))
