"""Settings are read once, and a refusal names every fault in them."""

import pytest
from structlog.testing import capture_logs

from app.config import InvalidSettings, Settings, WorkerSettings
from app.domain.upstreams import Upstream
from app.ops.startup import log_warnings

GOOD = {
    "DATABASE_URL": "postgresql://unbroken:hunter2hunter2@db/unbroken",
    "REDIS_URL": "redis://:hunter2hunter2@cache:6379/0",
    "JWT_SECRET": "j" * 32,
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with the required variables only, and none of this machine's."""
    for name in WorkerSettings.model_fields:
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


@pytest.mark.parametrize(
    "url", ["", "redis://cache", "amqp://rabbitmq", "amqps://one;amqps://other", "pyamqp://rabbitmq"]
)
def test_quorum_queues_need_rabbitmq(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("CELERY_BROKER_URL", url)
    environment.setenv("BROKER_QUEUE_TYPE", "quorum")
    if "amqp" in url:
        assert Settings.load().broker_queue_type == "quorum"
    else:
        assert complaint().startswith("BROKER_QUEUE_TYPE: ")


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
        {"HMAC_KEYS": "billing:hunter2"},
        {"HMAC_KEYS": f"hunter2:{'aHVudGVyMmh1bnRlcjI=' * 3}@hunter2"},
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
    environment.setenv("HMAC_KEYS", "billing:hunter2+" + "aHVudGVy" * 5)
    shown = repr(WorkerSettings.load())
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


def test_upstreams_are_read_in_their_order(environment: pytest.MonkeyPatch) -> None:
    for name, value in {
        "UPSTREAMS": "my-azure, claude",
        "OPENAI_BASE_URL": "http://h/v1",
        "OPENAI_API_KEY": "k0",
        "OPENAI_CONTINUATION": "vllm",
        "UPSTREAM_OPENAI_TOKEN_LIMIT_NAME": "max_completion_tokens",
        "UPSTREAM_MY_AZURE_BASE_URL": "https://u:p@h/v1?api-version=1",
        "UPSTREAM_MY_AZURE_HEADERS": '{"api-key": "k1"}',
        "UPSTREAM_MY_AZURE_INCLUDE_USAGE": "0",
        "UPSTREAM_CLAUDE_KIND": "anthropic",
        "UPSTREAM_CLAUDE_BASE_URL": "https://c",
        "UPSTREAM_CLAUDE_API_KEY": "k2",
        "UPSTREAM_CLAUDE_CONTINUATION": "prefill",
        "UPSTREAM_HOST": "of another program",
    }.items():
        environment.setenv(name, value)
    settings = WorkerSettings.load()
    openai, azure, claude = settings.configured_upstreams
    assert openai == Upstream(
        "openai", "openai", "http://h/v1", "k0", token_limit_name="max_completion_tokens", continuation="vllm"
    )
    assert azure == Upstream(
        "my-azure", "openai", "https://u:p@h/v1?api-version=1", None, {"api-key": "k1"}, include_usage=False
    )
    assert claude == Upstream("claude", "anthropic", "https://c", "k2", continuation="prefill")
    assert not [secret for secret in ("k1", "k2", "u:p") if secret in repr(settings) + repr((azure, claude))]
    environment.setenv("UPSTREAMS", "claude,openai,my-azure")
    assert WorkerSettings.load().upstream_names == ("claude", "openai", "my-azure")


def test_a_web_process_has_the_names_of_upstreams_and_nothing_else(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("UPSTREAMS", "azure")
    environment.setenv("UPSTREAM_AZURE_API_KEY", "sk-of-azure")
    environment.setenv("UPSTREAM_AZURE_BASE_URL", "https://sk-of-azure@h")
    settings = Settings.load()
    assert settings.upstream_names == ("azure",)
    assert "sk-of-azure" not in str(settings.model_dump())


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("UPSTREAM_A_KIND", "hunter2"),
        ("UPSTREAM_A_BASE_URL", "ftp://hunter2"),
        ("UPSTREAM_A_BASE_URL", "http://:hunter2@"),
        ("UPSTREAM_A_BASE_URL", ""),
        ("UPSTREAM_A_API_KEY", "hünter2"),
        ("UPSTREAM_A_HEADERS", '{"X": "hunter2"'),
        ("UPSTREAM_A_HEADERS", '["hunter2"]'),
        ("UPSTREAM_A_HEADERS", '{"X": "hunter2\\n"}'),
        ("UPSTREAM_A_HEADERS", '{"X Y": "hunter2"}'),
        ("UPSTREAM_A_HEADERS", '{"Host": "hunter2"}'),
        ("UPSTREAM_A_HEADERS", '{"X": 2}'),
        ("UPSTREAM_A_TOKEN_LIMIT_NAME", "hunter2"),
        ("UPSTREAM_A_INCLUDE_USAGE", "hunter2"),
        ("UPSTREAM_A_CONTINUATION", "hunter2"),
        ("UPSTREAM_A_BACKGROUND", "hunter2"),
        ("UPSTREAM_C_CONTINUATION", "vllm"),
        ("UPSTREAM_C_BACKGROUND", "1"),
        ("UPSTREAM_A_BASEURL", "hunter2"),
        ("UPSTREAM_B_API_KEY", "hunter2"),
        ("UPSTREAM_OPENAI_BASE_URL", "http://hunter2"),
        ("OPENAI_API_KEY", "hünter2"),
        ("UPSTREAMS", "a,c,offline"),
        ("UPSTREAMS", "a,c,B"),
        ("UPSTREAMS", "a,c,a"),
        ("UPSTREAMS", "a,c,x-y,x_y"),
    ],
)
def test_each_variable_of_an_upstream_is_refused_by_its_name(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    given = {"UPSTREAMS": "a,c", "UPSTREAM_A_BASE_URL": "http://h", "OPENAI_BASE_URL": "http://h"}
    given |= {"UPSTREAM_C_KIND": "anthropic", "UPSTREAM_C_BASE_URL": "http://h", variable: value}
    for name, text in given.items():
        environment.setenv(name, text)
    with pytest.raises(InvalidSettings) as caught:
        WorkerSettings.load()
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [variable]
    assert "unter2" not in str(caught.value)


def test_all_variables_of_all_upstreams_are_refused_at_once(environment: pytest.MonkeyPatch) -> None:
    bad = {"UPSTREAM_A_KIND": "x", "UPSTREAM_A_BACKGROUND": "x", "UPSTREAM_B_BASE_URL": "x", "TICK_MS": "-1"}
    for name, text in {"UPSTREAMS": "a,b", "UPSTREAM_A_BASE_URL": "http://h", **bad}.items():
        environment.setenv(name, text)
    with pytest.raises(InvalidSettings) as caught:
        WorkerSettings.load()
    assert {line.partition(":")[0] for line in str(caught.value).splitlines()} == set(bad)


IDENTITY_PROVIDER = {
    "PUBLIC_URL": "https://chat.example.com",
    "OIDC_ISSUER": "https://login.example.com/realms/one",
    "OIDC_CLIENT_ID": "unbroken",
    "OIDC_CLIENT_SECRET": "hunter2",
}


@pytest.mark.parametrize("missing", IDENTITY_PROVIDER)
def test_an_identity_provider_needs_four_variables(environment: pytest.MonkeyPatch, missing: str) -> None:
    for name, value in IDENTITY_PROVIDER.items():
        if name != missing:
            environment.setenv(name, value)
    said = complaint()
    assert f"missing: {missing};" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("name", ["OIDC_ADMIN_VALUES", "OIDC_ALLOWED_DOMAINS"])
def test_rules_for_an_identity_provider_need_one(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "example.com")
    assert "missing: PUBLIC_URL, OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET;" in complaint()


def test_a_public_address_needs_no_identity_provider(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PUBLIC_URL", "https://Chat.example.com:8443/")
    assert Settings.load().public_url == "https://chat.example.com:8443"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUBLIC_URL", "https://chat.example.com/chat"),
        ("PUBLIC_URL", "chat.example.com"),
        ("PUBLIC_URL", "https://me@chat.example.com"),
        ("OIDC_ISSUER", "http://login.example.com"),
        ("OIDC_ISSUER", "https://login.example.com/?tenant=1"),
        ("OIDC_ISSUER", "https://me:hunter2@login.example.com"),
        ("OIDC_SCOPES", "profile email"),
        ("OIDC_ALLOWED_DOMAINS", "@example.com"),
    ],
)
def test_a_variable_of_sign_in_that_cannot_be_used_is_named(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for other, good in IDENTITY_PROVIDER.items():
        environment.setenv(other, good)
    environment.setenv(name, value)
    said = complaint()
    assert said.startswith(f"{name}: ")
    assert "hunter2" not in said


def test_only_web_processes_have_the_secret_of_the_identity_provider(environment: pytest.MonkeyPatch) -> None:
    for name, value in IDENTITY_PROVIDER.items():
        environment.setenv(name, value)
    secret = Settings.load().oidc_client_secret
    assert secret is not None
    assert secret.get_secret_value() == "hunter2"
    assert WorkerSettings.load().oidc_client_secret is None
    environment.delenv("OIDC_CLIENT_SECRET")
    assert WorkerSettings.load().oidc_issuer == IDENTITY_PROVIDER["OIDC_ISSUER"]


def test_a_deprecated_setting_is_named_at_the_start(environment: pytest.MonkeyPatch):
    with capture_logs() as logged:
        log_warnings(Settings.load())
        environment.setenv("TOKEN_QUOTA_PER_DAY", "1000")
        log_warnings(Settings.load())
    assert [(line["log_level"], "BUDGET_TOKENS_PER_DAY" in line["detail"]) for line in logged] == [("warning", True)]
