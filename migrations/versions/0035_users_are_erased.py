"""Users are erased in small batches; a legal hold keeps what its user deletes, out of sight."""

from migrations.definer import create_definers, drop_functions
from migrations.online import online, quickly

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

# The user of an erasure is named until nothing of the user is left. Afterwards the digest finds the user again in a
# backup that is restored.
TABLES = """
CREATE TABLE erasures (
    id uuid PRIMARY KEY,
    user_id uuid UNIQUE,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    emptied_at timestamptz,
    finished_at timestamptz,
    counts jsonb NOT NULL DEFAULT '{}',
    CHECK ((user_id IS NULL) = (finished_at IS NOT NULL)),
    CHECK (finished_at IS NULL OR emptied_at IS NOT NULL)
);
CREATE INDEX erasures_emptied ON erasures (emptied_at);
GRANT SELECT, INSERT (id, user_id, digest) ON erasures TO unbroken_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON erasures TO unbroken_system;

CREATE TABLE holds (
    user_id uuid PRIMARY KEY REFERENCES users,
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    placed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT SELECT ON holds TO unbroken_app, unbroken_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON holds TO unbroken_definer;
"""
POLICIES = """
ALTER TABLE {0} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {0} FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON {0} TO unbroken_app
    USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
CREATE POLICY every_row ON {0} TO unbroken_system USING (true) WITH CHECK (true);
"""
# A conversation that is deleted under a hold belongs to a user of its own from then on, whom no token can name.
# kept_for is the user who deleted it. So no statement of the user finds it, and its keys are free again.
KEEPERS = """
ALTER TABLE users ADD COLUMN kept_for uuid;
CREATE INDEX users_kept_for ON users (kept_for) WHERE kept_for IS NOT NULL;
GRANT DELETE ON users TO unbroken_system;
GRANT UPDATE ON audit TO unbroken_definer;
"""
INDEX = "INDEX {name} ON conversations (user_id, id)"

# Deletions take the lock of their user's hold shared, and a hold takes it alone: what is deleted after a hold was
# placed is kept.
LOCK = "hashtextextended('hold of ' || CAST({} AS text), 0)"

INNER = {
    # The user is refused everything from the commit of the request on.
    "close_erased_user()": """
        RETURNS trigger LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
            UPDATE users SET erasing_at = coalesce(erasing_at, now()) WHERE id = NEW.user_id;
            RETURN NULL;
        END $$""",
    "new_keeper(owner uuid)": """
        RETURNS uuid LANGUAGE sql VOLATILE AS $$
        INSERT INTO users (id, subject, kind, kept_for)
        VALUES (uuidv7(), 'kept ' || gen_random_uuid() || gen_random_uuid(), 'kept', owner) RETURNING id $$""",
    "keep_held_conversation()": f"""
        RETURNS trigger LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock_shared({LOCK.format("OLD.user_id")});
            IF EXISTS (SELECT FROM holds h WHERE h.user_id = OLD.user_id) THEN
                PERFORM set_aside_conversation(OLD.id);
                RETURN NULL;
            END IF;
            RETURN OLD;
        END $$""",
}
# An unlisted conversation has no words: its messages are not parsed again. Redis is emptied as after a deletion.
FOR_WORKERS = {
    "set_aside_conversation(wanted uuid)": """
        RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            keeper uuid;
        BEGIN
            SELECT new_keeper(c.user_id) INTO keeper FROM conversations c WHERE c.id = wanted FOR UPDATE;
            UPDATE conversations SET user_id = keeper, listed = false WHERE id = wanted;
            UPDATE messages SET user_id = keeper WHERE conversation_id = wanted;
            UPDATE generations SET user_id = keeper WHERE conversation_id = wanted;
            UPDATE generation_chunks p SET user_id = keeper FROM generations g
                WHERE g.conversation_id = wanted AND p.generation_id = g.id;
            UPDATE generation_archives p SET user_id = keeper FROM generations g
                WHERE g.conversation_id = wanted AND p.generation_id = g.id;
            UPDATE responses p SET user_id = keeper FROM generations g
                WHERE g.conversation_id = wanted AND p.generation_id = g.id;
            UPDATE client_chats SET user_id = keeper WHERE conversation_id = wanted;
            INSERT INTO deletions (id) SELECT g.id FROM generations g WHERE g.conversation_id = wanted
                UNION ALL SELECT wanted ON CONFLICT DO NOTHING;
            RETURN keeper;
        END $$""",
    # The audit keeps its rows; the name of the erasure takes the place of the user. Only for an erasure under way.
    "unname_in_audit(wanted uuid, most integer)": """
        RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            instead uuid := (SELECT e.id FROM erasures e WHERE e.user_id = wanted AND e.finished_at IS NULL);
            changed integer;
        BEGIN
            IF instead IS NULL THEN
                RETURN 0;
            END IF;
            UPDATE audit a SET
                user_id = CASE WHEN a.user_id = wanted THEN instead ELSE a.user_id END,
                actor_id = CASE WHEN a.actor_id = wanted THEN instead ELSE a.actor_id END,
                address = CASE WHEN a.actor_id = wanted THEN NULL ELSE a.address END,
                credential_id = CASE WHEN a.actor_id = wanted THEN '' ELSE a.credential_id END,
                object_id = replace(a.object_id, CAST(wanted AS text), CAST(instead AS text)),
                details = CASE WHEN wanted IN (a.user_id, a.actor_id) THEN '{}' ELSE
                    CAST(replace(CAST(a.details AS text), CAST(wanted AS text), CAST(instead AS text)) AS jsonb) END
            WHERE a.id IN (
                SELECT id FROM audit WHERE user_id = wanted
                UNION ALL SELECT id FROM audit WHERE actor_id = wanted
                UNION ALL SELECT id FROM audit WHERE object_id = CAST(wanted AS text)
                LIMIT most);
            GET DIAGNOSTICS changed = ROW_COUNT;
            RETURN changed;
        END $$""",
}
FOR_THE_SERVICE = {
    # A reservation and a message of the transaction's user. True: there is a hold, and they are kept.
    "set_aside_reservation(wanted uuid)": f"""
        RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            me uuid := nullif(current_setting('app.user_id', true), '')::uuid;
        BEGIN
            PERFORM pg_advisory_xact_lock_shared({LOCK.format("me")});
            IF NOT EXISTS (SELECT FROM holds h WHERE h.user_id = me) THEN
                RETURN false;
            END IF;
            UPDATE reserved_conversations r SET user_id = new_keeper(me) WHERE r.id = wanted AND r.user_id = me;
            RETURN FOUND;
        END $$""",
    # A copy, in a conversation of its own: the message itself is about to lose parts.
    "set_aside_message(wanted uuid)": f"""
        RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            me uuid := nullif(current_setting('app.user_id', true), '')::uuid;
            keeper uuid;
            copied uuid := uuidv7();
            copied_to uuid := uuidv7();
        BEGIN
            PERFORM pg_advisory_xact_lock_shared({LOCK.format("me")});
            IF NOT EXISTS (SELECT FROM holds h WHERE h.user_id = me)
                OR NOT EXISTS (SELECT FROM messages m WHERE m.id = wanted AND m.user_id = me) THEN
                RETURN false;
            END IF;
            keeper := new_keeper(me);
            INSERT INTO conversations (id, user_id, first_message_id, title, model, metadata, message_seq, listed)
                SELECT copied_to, keeper, copied, c.title, c.model, jsonb_build_object('copy_from', c.id), 1, false
                FROM conversations c JOIN messages m ON m.conversation_id = c.id WHERE m.id = wanted;
            INSERT INTO messages (id, conversation_id, user_id, seq, role, status, content, reasoning, tools, items,
                    model, client_msg_id, usage, metadata, created_at)
                SELECT copied, copied_to, keeper, 1, m.role, m.status, m.content, m.reasoning, m.tools, m.items,
                    m.model, m.client_msg_id, m.usage, m.metadata || jsonb_build_object('copy_of', m.id), m.created_at
                FROM messages m WHERE m.id = wanted;
            RETURN true;
        END $$""",
}
FOR_OPERATORS = {
    "place_hold(wanted uuid, why text)": f"""
        RETURNS TABLE (user_id uuid, reason text, placed_at timestamptz) LANGUAGE plpgsql VOLATILE AS $$
        #variable_conflict use_column
        BEGIN
            PERFORM pg_advisory_xact_lock({LOCK.format("wanted")});
            RETURN QUERY INSERT INTO holds AS h (user_id, reason)
                SELECT u.id, why FROM users u WHERE u.id = wanted AND u.kept_for IS NULL
                ON CONFLICT (user_id) DO UPDATE SET reason = EXCLUDED.reason
                RETURNING h.user_id, h.reason, h.placed_at;
        END $$""",
    "hold_of(wanted uuid)": """
        RETURNS TABLE (user_id uuid, reason text, placed_at timestamptz) LANGUAGE sql STABLE AS $$
        SELECT h.user_id, h.reason, h.placed_at FROM holds h WHERE h.user_id = wanted $$""",
    "end_hold(wanted uuid)": """
        RETURNS boolean LANGUAGE sql VOLATILE AS $$
        WITH ended AS (DELETE FROM holds h WHERE h.user_id = wanted RETURNING 1)
        SELECT EXISTS (SELECT FROM ended) $$""",
}
# The feed of a conversation that was set aside is its user's: it says that the conversation was deleted.
OWNER = """
CREATE OR REPLACE FUNCTION owner_of_conversation(wanted uuid) RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT c.user_id FROM conversations c {kept} WHERE c.id = wanted {listed}
    UNION ALL -- deleted, and its feed says so to those who follow it
    SELECT user_id FROM feed_events WHERE conversation_id = wanted AND conversation_seq IS NOT NULL
    LIMIT 1 $$"""
# Operators see users, and no owners of what is kept.
WATCHED = """DO $do$ BEGIN
    EXECUTE replace(pg_get_functiondef(CAST('watched_users' AS regproc)), '{earlier}', '{later}');
END $do$"""
ALL_USERS, REAL_USERS = "WHERE (wanted IS NULL", "WHERE u.kept_for IS NULL AND (wanted IS NULL"
NOT_KEPT = {"kept": "JOIN users u ON u.id = c.user_id", "listed": "AND u.kept_for IS NULL"}
TRIGGERS = """CREATE TRIGGER close_erased AFTER INSERT ON erasures FOR EACH ROW EXECUTE FUNCTION close_erased_user();
    CREATE TRIGGER keep_held BEFORE DELETE ON conversations FOR EACH ROW
    EXECUTE FUNCTION keep_held_conversation()"""


def upgrade() -> None:
    with online() as steps:
        steps.index("conversations_of_user", INDEX)
    quickly(
        KEEPERS,
        TABLES,
        *(POLICIES.format(table) for table in ("erasures", "holds")),
        *create_definers({name: INNER[name] for name in ("new_keeper(owner uuid)",)}, "unbroken_definer"),
        *create_definers(FOR_WORKERS, "unbroken_system"),
        *create_definers(
            {name: INNER[name] for name in ("keep_held_conversation()", "close_erased_user()")}, "unbroken_definer"
        ),
        *create_definers(FOR_THE_SERVICE, "unbroken_app", "unbroken_system"),
        *create_definers(FOR_OPERATORS, "unbroken_operator", "unbroken_system"),
        "GRANT CREATE ON SCHEMA public TO unbroken_definer",
        OWNER.format(**NOT_KEPT),
        WATCHED.format(earlier=ALL_USERS, later=REAL_USERS),
        "REVOKE CREATE ON SCHEMA public FROM unbroken_definer",
        TRIGGERS,
    )


def downgrade() -> None:
    """What holds have kept becomes visible to operators only: it stays with users whom no token can name."""
    quickly(
        "DROP TRIGGER keep_held ON conversations",
        OWNER.format(kept="", listed=""),
        WATCHED.format(earlier=REAL_USERS, later=ALL_USERS),
        "DROP TABLE erasures, holds",
        *drop_functions({**FOR_OPERATORS, **FOR_THE_SERVICE, **FOR_WORKERS, **INNER}),
        "REVOKE DELETE ON users FROM unbroken_system; REVOKE UPDATE ON audit FROM unbroken_definer",
        "ALTER TABLE users DROP COLUMN kept_for",
        "DROP INDEX conversations_of_user",
    )
