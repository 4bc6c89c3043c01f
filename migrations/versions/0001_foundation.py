"""Users, models, conversations, messages, generations, their checkpoints and archives."""

from alembic import op

from migrations.online import quickly

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Neither role can log in. The service logs in with the login of DATABASE_URL and sets one of them:
# unbroken_app for everything done in a user's name, unbroken_system for worker, sweeper and operator.
ROLES = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'unbroken_app') THEN
        CREATE ROLE unbroken_app NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'unbroken_system') THEN
        CREATE ROLE unbroken_system NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- roles are shared by all databases of a server, and another one was quicker
END $$;
DO $$
BEGIN
    -- A role's creator may put it on; another owner on the same server has to be given it by an administrator.
    IF NOT pg_has_role(current_user, 'unbroken_app', 'SET')
        OR NOT pg_has_role(current_user, 'unbroken_system', 'SET') THEN
        GRANT unbroken_app, unbroken_system TO CURRENT_USER;
    END IF;
END $$;
GRANT USAGE ON SCHEMA public TO unbroken_app, unbroken_system;
"""

TABLES = """
CREATE TABLE users (
    id uuid PRIMARY KEY,
    subject text NOT NULL UNIQUE CHECK (length(subject) BETWEEN 1 AND 255),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE models (
    name text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 200),
    provider text NOT NULL,
    upstream_name text NOT NULL,
    system_prompt text,
    parameters jsonb NOT NULL DEFAULT '{}',
    on_interruption text[] CHECK (on_interruption <@ ARRAY['continue', 'restart', 'error']),
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_updated timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE conversations (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    -- Checked at commit: a conversation without a message cannot exist, whatever fails.
    first_message_id uuid NOT NULL,
    title text CHECK (length(title) <= 200),
    model text,
    metadata jsonb NOT NULL DEFAULT '{}',
    preview text NOT NULL DEFAULT '',
    message_seq integer NOT NULL DEFAULT 0,
    history_version integer NOT NULL DEFAULT 0,
    archived_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_message_at timestamptz NOT NULL DEFAULT now(),
    last_updated timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE messages (
    id uuid PRIMARY KEY,
    conversation_id uuid NOT NULL REFERENCES conversations ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    parent_id uuid REFERENCES messages ON DELETE CASCADE,
    seq integer NOT NULL,
    role text NOT NULL CHECK (role IN ('user', 'assistant')),
    status text NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'error', 'cancelled')),
    content text NOT NULL DEFAULT '',
    reasoning text NOT NULL DEFAULT '',
    tools jsonb NOT NULL DEFAULT '[]',
    model text,
    client_msg_id text,
    usage jsonb,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    last_updated timestamptz NOT NULL DEFAULT now(),
    UNIQUE (conversation_id, seq)
);

ALTER TABLE conversations ADD CONSTRAINT conversations_first_message
    FOREIGN KEY (first_message_id) REFERENCES messages DEFERRABLE INITIALLY DEFERRED;

-- Narrow and with room in its pages: the lease is renewed in place, without touching an index.
CREATE TABLE generations (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    conversation_id uuid NOT NULL REFERENCES conversations ON DELETE CASCADE,
    message_id uuid NOT NULL UNIQUE REFERENCES messages ON DELETE CASCADE,
    user_message_id uuid NOT NULL REFERENCES messages ON DELETE CASCADE,
    -- The answer's number in its conversation: answers are made in this order, one at a time.
    seq integer NOT NULL,
    model text NOT NULL,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'completed', 'error', 'cancelled')),
    epoch integer NOT NULL DEFAULT 0,
    tries integer NOT NULL DEFAULT 0,
    dispatches integer NOT NULL DEFAULT 0,
    worker text,
    lease_until timestamptz,
    next_dispatch_at timestamptz NOT NULL DEFAULT now(),
    cancel_at timestamptz,
    deadline timestamptz,
    idempotency_key text CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    request_hash bytea,
    parameters jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    attempts jsonb NOT NULL DEFAULT '[]',
    final_epoch integer,
    final_n integer,
    sha256 text,
    finish_reason text,
    error jsonb,
    usage jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    first_token_at timestamptz,
    finished_at timestamptz,
    last_updated timestamptz NOT NULL DEFAULT now(),
    CHECK ((status IN ('completed', 'error', 'cancelled')) = (final_epoch IS NOT NULL)),
    CHECK ((final_epoch IS NULL) = (final_n IS NULL)),
    CHECK ((final_epoch IS NULL) = (sha256 IS NULL)),
    CHECK ((final_epoch IS NULL) = (finished_at IS NULL))
) WITH (fillfactor = 70);

-- Append-only checkpoints: consecutive events of one revision, packed.
CREATE TABLE generation_chunks (
    generation_id uuid NOT NULL REFERENCES generations ON DELETE CASCADE,
    user_id uuid NOT NULL,
    epoch integer NOT NULL,
    first_n integer NOT NULL,
    last_n integer NOT NULL CHECK (last_n >= first_n),
    body bytea NOT NULL,
    PRIMARY KEY (generation_id, epoch, first_n)
);
ALTER TABLE generation_chunks ALTER COLUMN body SET STORAGE EXTERNAL;

-- The whole log of a finished generation. revisions has the number of events of each epoch: [[1, 212], [2, 40]].
CREATE TABLE generation_archives (
    generation_id uuid PRIMARY KEY REFERENCES generations ON DELETE CASCADE,
    user_id uuid NOT NULL,
    revisions jsonb NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE generation_archives ALTER COLUMN body SET STORAGE EXTERNAL;
"""

INDEXES = """
-- The list of a user's conversations, newest first, by model or not, archived or not.
-- Partial, without an expression in the key: for "archived = false" the planner looks for IS NULL.
CREATE INDEX conversations_listed ON conversations (user_id, last_message_at DESC, id DESC) WHERE archived_at IS NULL;
CREATE INDEX conversations_archived ON conversations (user_id, last_message_at DESC, id DESC)
    WHERE archived_at IS NOT NULL;
CREATE INDEX conversations_by_model ON conversations (user_id, model, last_message_at DESC, id DESC)
    WHERE archived_at IS NULL;
CREATE INDEX conversations_first ON conversations (first_message_id);
-- A branch is walked upwards by id and looked at downwards by parent.
CREATE INDEX messages_children ON messages (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX messages_of_user ON messages (user_id);
-- Queued and running generations: for the sweeper, and for a second message in a conversation. No hot column in it.
CREATE INDEX generations_live ON generations (conversation_id, seq) WHERE status IN ('queued', 'running');
CREATE INDEX generations_of_conversation ON generations (conversation_id);
CREATE INDEX generations_of_user_message ON generations (user_message_id);
CREATE INDEX generations_of_user ON generations (user_id, created_at DESC);
CREATE UNIQUE INDEX generations_idempotency ON generations (user_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
"""

TRIGGERS = """
CREATE FUNCTION touch_last_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.last_updated := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER touch BEFORE UPDATE ON models FOR EACH ROW EXECUTE FUNCTION touch_last_updated();
CREATE TRIGGER touch BEFORE UPDATE ON conversations FOR EACH ROW EXECUTE FUNCTION touch_last_updated();
CREATE TRIGGER touch BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION touch_last_updated();
CREATE TRIGGER touch BEFORE UPDATE ON generations FOR EACH ROW EXECUTE FUNCTION touch_last_updated();

-- The allowed changes of a status, enforced for every client of the database.
CREATE FUNCTION keep_generation_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch < OLD.epoch THEN
        RAISE EXCEPTION 'an epoch never goes back (% to %)', OLD.epoch, NEW.epoch USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN (
        ('queued', 'running'), ('running', 'completed'), ('running', 'error'), ('running', 'cancelled')
    ) THEN
        RAISE EXCEPTION 'a generation cannot go from % to %', OLD.status, NEW.status USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_moves BEFORE UPDATE OF status, epoch ON generations FOR EACH ROW
    WHEN (OLD.status <> NEW.status OR NEW.epoch < OLD.epoch) EXECUTE FUNCTION keep_generation_moves();
"""

# Counts over the rows of all users that a user's request needs: all queued generations, and those before a given one.
FUNCTIONS = """
CREATE FUNCTION queued_total() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT count(*) FROM generations WHERE status = 'queued'
$$;
CREATE FUNCTION queue_position(wanted uuid) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = public AS $$
    SELECT count(*) FROM generations WHERE status = 'queued' AND id <= wanted
$$;
REVOKE ALL ON FUNCTION queued_total(), queue_position(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION queued_total(), queue_position(uuid) TO unbroken_app, unbroken_system;
"""

OWNED = ("conversations", "messages", "generations", "generation_chunks", "generation_archives")

SEED = """
INSERT INTO models (name, provider, upstream_name) VALUES
    ('offline', 'offline', 'offline'), ('offline-fast', 'offline-fast', 'offline-fast');
"""


def upgrade() -> None:
    for script in (ROLES, TABLES, INDEXES, TRIGGERS, FUNCTIONS):
        op.execute(script)
    for table in OWNED:
        _protect(table, "user_id")
    _protect("users", "id")
    op.execute("GRANT SELECT ON models TO unbroken_app; GRANT ALL ON models TO unbroken_system;")
    op.execute("GRANT SELECT, INSERT ON users TO unbroken_system;")
    op.execute(SEED)


def _protect(table: str, owner: str) -> None:
    """Protect the table by row-level security: the transaction's user, or all users for the system role."""
    op.execute(f"""
        ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
        GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO unbroken_app, unbroken_system;
        CREATE POLICY own_rows ON {table} TO unbroken_app
            USING ({owner} = nullif(current_setting('app.user_id', true), '')::uuid);
        CREATE POLICY every_row ON {table} TO unbroken_system USING (true) WITH CHECK (true);
    """)


def downgrade() -> None:
    quickly("""
        DROP TABLE generation_archives, generation_chunks, generations CASCADE;
        ALTER TABLE conversations DROP CONSTRAINT conversations_first_message;
        DROP TABLE messages, conversations, models, users CASCADE;
        DROP FUNCTION touch_last_updated(), keep_generation_moves(), queued_total(), queue_position(uuid);
        REVOKE ALL ON SCHEMA public FROM unbroken_app, unbroken_system;
    """)
    # The roles stay: they belong to the server, and other databases on it may use them.
