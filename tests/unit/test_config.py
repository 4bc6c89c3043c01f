"""Settings are read once, completely, and complained about completely."""

import pytest

from app.config import InvalidSettings, Settings

GOOD = {
    "DATABASE_URL": "postgresql://unbroken:hunter2hunter2@db/unbroken",
    "REDIS_URL": "redis://:hunter2hunter2@cache:6379/0",
    "JWT_SECRET": "j" * 32,
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing of this machine's variables, and what is required."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def complaint() -> str:
    with pytest.raises(InvalidSettings) as caught:
        Settings.load()
    return str(caught.value)


def test_defaults_are_those_of_the_contract(environment: pytest.MonkeyPatch) -> None:
    settings = Settings.load()
    assert settings.database_url == "postgresql+psycopg2://unbroken:hunter2hunter2@db/unbroken"
    assert settings.broker_url == settings.redis_url
    assert (settings.worker_concurrency, settings.lease_seconds, settings.heartbeat_seconds) == (200, 30, 5)
    assert (settings.tick_ms, settings.checkpoint_events, settings.checkpoint_seconds) == (20, 25, 0.5)
    assert (settings.first_token_timeout, settings.token_timeout, settings.generation_timeout) == (120, 60, 1800)
    assert (settings.max_attempts, settings.on_interruption) == (5, ("continue", "restart", "error"))
    assert (settings.max_streams_per_user, settings.max_queued, settings.max_message_chars) == (10, 1000, 10_000)
    assert settings.strict_durability is False
    assert settings.self_fence_seconds == pytest.approx(25)


def test_every_bad_variable_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    bad = {
        "DATABASE_URL": "mysql://x", "REDIS_URL": "http://x", "REDIS_NAMESPACE": "a b", "WORKER_CONCURRENCY": "many",
        "LEASE_SECONDS": "0", "TICK_MS": "-1", "MAX_ATTEMPTS": "0", "ON_INTERRUPTION": "continue,pray",
        "STRICT_DURABILITY": "perhaps", "LOG_LEVEL": "LOUD", "JWT_SECRET": "short",
        "RATELIMIT_READS": "often", "OPENAI_BASE_URL": "ftp://x", "TOKEN_QUOTA_PER_DAY": "0",
        "CORS_ORIGINS": "https://chat.example.com/",
    }  # fmt: skip
    for name, value in bad.items():
        environment.setenv(name, value)
    said = complaint()
    assert {line.partition(":")[0] for line in said.splitlines()} >= set(bad)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("REDIS_URL", "redis://:hunter2/hunter2@cache:6379/0"),
        ("REDIS_URL", "redis://cache:70000"),
        ("DATABASE_URL", "postgresql://unbroken:hunter2#hunter2@db/unbroken"),
        ("OPENAI_BASE_URL", "http://"),
        ("JWT_JWKS_URL", "keys.example"),
        ("CELERY_BROKER_URL", "cache:6379"),
    ],
)
def test_an_address_that_leads_nowhere_is_named_and_not_shown(
    environment: pytest.MonkeyPatch, name: str, url: str
) -> None:
    environment.setenv(name, url)
    said = complaint()
    assert said.startswith(f"{name}: ")
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("REDIS_URL", "unix://:hunter2@/run/redis.sock?db=1"),
        ("REDIS_URL", "rediss://:hunter2%2F@[::1]:6380/0?ssl_ca_certs=/run/tls/ca.pem"),
        ("DATABASE_URL", "postgresql:///unbroken?host=/run/postgresql"),
        ("CELERY_BROKER_URL", "amqp://one:5672;amqp://other:5672"),
    ],
)
def test_an_address_may_be_a_path_or_several(environment: pytest.MonkeyPatch, name: str, url: str) -> None:
    environment.setenv(name, url)
    Settings.load()


def test_missing_addresses_are_named(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DATABASE_URL")
    environment.delenv("REDIS_URL")
    said = complaint()
    assert "DATABASE_URL" in said
    assert "REDIS_URL" in said


@pytest.mark.parametrize(
    "variables",
    [
        {"JWT_SECRET": "hunter2"},
        {"JWT_SECRET_PREVIOUS": "hunter2"},
        {"DATABASE_URL": "mysql://u:hunter2@db/x"},
        {"REDIS_URL": "http://:hunter2@cache"},
        {"OPENAI_BASE_URL": "ftp://u:hunter2@x", "OPENAI_API_KEY": "hunter2"},
        {"JWT_SECRET": "", "OPENAI_API_KEY": "hunter2"},
        {"LEASE_SECONDS": "1", "OPENAI_API_KEY": "hunter2"},
    ],
    ids=str,
)
def test_no_value_is_repeated_in_a_complaint(environment: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    assert "hunter2" not in complaint()


def test_a_traceback_of_bad_settings_shows_no_value_either(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DATABASE_URL", "mysql://u:hunter2@db/x")
    with pytest.raises(InvalidSettings) as caught:
        Settings.load()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_secrets_are_not_shown_when_settings_are_printed(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OPENAI_API_KEY", "sk-hunter2")
    environment.setenv("JWT_SECRET", "hunter2" * 6)
    shown = repr(Settings.load())
    assert "sk-hunter2" not in shown
    assert "hunter2" * 2 not in shown.replace(GOOD["DATABASE_URL"], "").replace("hunter2hunter2@", "")


def test_one_way_to_check_tokens_is_needed(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("JWT_SECRET")
    assert "JWT_SECRET" in complaint()
    environment.setenv("JWT_JWKS_URL", "https://issuer/jwks.json")
    assert Settings.load().jwt_secret is None


def test_a_lease_must_outlive_two_heartbeats(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LEASE_SECONDS", "10")
    environment.setenv("HEARTBEAT_SECONDS", "5")
    assert "HEARTBEAT_SECONDS" in complaint()


def test_what_does_not_agree_is_named_beside_what_is_wrong_alone(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("JWT_SECRET")
    environment.setenv("LEASE_SECONDS", "5")
    environment.setenv("TICK_MS", "-1")
    said = complaint()
    assert {line.partition(":")[0] for line in said.splitlines()} == {"JWT_JWKS_URL", "HEARTBEAT_SECONDS", "TICK_MS"}


def test_settings_cannot_be_changed(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError):
        Settings.load().lease_seconds = 1  # type: ignore[misc]


@pytest.mark.parametrize(("given", "read"), [("1", True), ("0", False), ("true", True), ("", False)])
def test_switches_and_empty_values(environment: pytest.MonkeyPatch, given: str, read: bool) -> None:
    environment.setenv("STRICT_DURABILITY", given)
    assert Settings.load().strict_durability is read


def test_lists_are_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ON_INTERRUPTION", " restart , error ")
    settings = Settings.load()
    assert settings.on_interruption == ("restart", "error")
