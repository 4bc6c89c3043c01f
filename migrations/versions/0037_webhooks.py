"""Webhooks: endpoints with their secrets, deliveries that are added with the end of a generation, and attempts."""

from migrations.definer import create_definers, drop_functions
from migrations.online import quickly

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

# A web process writes secrets and reads none of an endpoint; the worker that sends reads them. A disabled endpoint
# receives no event.
ENDPOINTS = """
CREATE TABLE webhook_endpoints (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    url text NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
    event_types text[] NOT NULL CHECK (cardinality(event_types) > 0),
    secret text NOT NULL CHECK (secret ~ '^whsec_[A-Za-z0-9+/]{32,86}={0,2}$'),
    secret_hint text NOT NULL,
    previous_secret text,
    previous_secret_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz,
    disabled_reason text,
    CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL))
);
CREATE INDEX webhook_endpoints_of_user ON webhook_endpoints (user_id, id);
GRANT SELECT (id, user_id, name, url, event_types, secret_hint, created_at, updated_at, disabled_at, disabled_reason),
    INSERT (id, user_id, name, url, event_types, secret, secret_hint),
    UPDATE (name, url, event_types, secret, secret_hint, previous_secret_until, updated_at, disabled_at,
        disabled_reason),
    DELETE ON webhook_endpoints TO unbroken_app;
GRANT SELECT, UPDATE (updated_at, disabled_at, disabled_reason), DELETE ON webhook_endpoints TO unbroken_system;
"""
# The secret of the deliveries to the webhook_url of single requests. Its user reads it.
SECRETS = """
CREATE TABLE webhook_secrets (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    secret text NOT NULL CHECK (secret ~ '^whsec_[A-Za-z0-9+/]{32,86}={0,2}$'),
    previous_secret text,
    previous_secret_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT (user_id, secret), UPDATE (secret, previous_secret_until, updated_at)
    ON webhook_secrets TO unbroken_app;
GRANT SELECT, DELETE ON webhook_secrets TO unbroken_system;
"""
# One row for each receiver of an event. endpoint_id is NULL for the webhook_url of a request; an endpoint and a
# generation may be gone before their deliveries. lane: the receivers of which only some deliveries are sent at once.
# attempts counts all attempts; those before the last replay are attempts_before. A test is attempted once.
DELIVERIES = """
CREATE TABLE webhook_deliveries (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    endpoint_id uuid,
    lane uuid GENERATED ALWAYS AS (coalesce(endpoint_id, user_id)) STORED,
    url text NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
    event_id text NOT NULL CHECK (event_id ~ '^evt_[0-9a-zA-Z_]+$'),
    event_type text NOT NULL,
    body bytea NOT NULL CHECK (octet_length(body) < 20000),
    generation_id uuid,
    is_test boolean NOT NULL DEFAULT false,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'dead')),
    reason text,
    attempts integer NOT NULL DEFAULT 0,
    attempts_before integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    claimed_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    request_id text,
    traceparent text,
    CHECK ((state = 'waiting') = (finished_at IS NULL)),
    CHECK ((state = 'dead') = (reason IS NOT NULL))
);
CREATE UNIQUE INDEX webhook_deliveries_once ON webhook_deliveries (event_id, endpoint_id) NULLS NOT DISTINCT;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_attempt_at, id) WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_of_lane ON webhook_deliveries (lane, next_attempt_at) WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_claimed ON webhook_deliveries (lane, claimed_until) WHERE claimed_until IS NOT NULL;
CREATE INDEX webhook_deliveries_of_user ON webhook_deliveries (user_id, id);
CREATE INDEX webhook_deliveries_of_user_waiting ON webhook_deliveries (user_id, id) WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_of_user_dead ON webhook_deliveries (user_id, id) WHERE state = 'dead';
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (id) WHERE state = 'dead';
CREATE INDEX webhook_deliveries_of_endpoint ON webhook_deliveries (endpoint_id, id) WHERE endpoint_id IS NOT NULL;
CREATE INDEX webhook_deliveries_finished ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;
GRANT SELECT, INSERT, UPDATE (url, state, reason, attempts_before, next_attempt_at, claimed_until, finished_at)
    ON webhook_deliveries TO unbroken_app;
GRANT SELECT, UPDATE, DELETE ON webhook_deliveries TO unbroken_system;

CREATE TABLE webhook_attempts (
    delivery_id uuid NOT NULL REFERENCES webhook_deliveries ON DELETE CASCADE,
    n integer NOT NULL,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status integer,
    latency_ms integer NOT NULL,
    error text,
    excerpt text NOT NULL DEFAULT '',
    PRIMARY KEY (delivery_id, n),
    CHECK ((status IS NULL) <= (error IS NOT NULL))
);
CREATE INDEX webhook_attempts_of_user ON webhook_attempts (user_id, delivery_id, at);
GRANT SELECT ON webhook_attempts TO unbroken_app;
GRANT SELECT, INSERT, DELETE ON webhook_attempts TO unbroken_system;

ALTER TABLE generations ADD COLUMN webhook_url text;
"""
TABLES = ("webhook_endpoints", "webhook_secrets", "webhook_deliveries", "webhook_attempts")
POLICIES = """
ALTER TABLE {0} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {0} FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON {0} TO unbroken_app
    USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
CREATE POLICY every_row ON {0} TO unbroken_system USING (true) WITH CHECK (true);
"""
# A new secret moves the earlier one to previous_secret: no statement of a web process has to read it.
KEEP_SECRET = """
CREATE FUNCTION keep_webhook_secret() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.previous_secret := CASE WHEN NEW.previous_secret_until > now() THEN OLD.secret END;
    RETURN NEW;
END $$
"""
KEPT = """CREATE TRIGGER keep_secret BEFORE UPDATE ON {0} FOR EACH ROW
    WHEN (NEW.secret IS DISTINCT FROM OLD.secret) EXECUTE FUNCTION keep_webhook_secret()"""
FOR_THE_SERVICE = {
    # Figures over the deliveries of all users.
    "webhook_census()": """
        RETURNS TABLE (waiting bigint, oldest_seconds float8, dead bigint) LANGUAGE sql STABLE AS $$
        SELECT
            (SELECT count(*) FROM webhook_deliveries WHERE state = 'waiting'),
            (SELECT CAST(extract(epoch FROM clock_timestamp() - min(created_at)) AS float8)
             FROM webhook_deliveries WHERE state = 'waiting'),
            (SELECT count(*) FROM webhook_deliveries WHERE state = 'dead') $$""",
}


def upgrade() -> None:
    quickly(
        ENDPOINTS,
        SECRETS,
        DELIVERIES,
        KEEP_SECRET,
        *(KEPT.format(table) for table in ("webhook_endpoints", "webhook_secrets")),
        *(POLICIES.format(table) for table in TABLES),
        *create_definers(FOR_THE_SERVICE, "unbroken_app", "unbroken_system"),
    )


def downgrade() -> None:
    quickly(
        *drop_functions(FOR_THE_SERVICE),
        "ALTER TABLE generations DROP COLUMN webhook_url",
        "DROP TABLE webhook_attempts, webhook_deliveries, webhook_secrets, webhook_endpoints",
        "DROP FUNCTION keep_webhook_secret()",
    )
