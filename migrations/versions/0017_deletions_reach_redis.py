"""Ids of deleted conversations and generations are kept until Redis has nothing of them any more."""

from migrations.online import quickly

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# The table holds ids only. Triggers of the definer fill it at every deletion: by the service, older code, or a cascade
# from a user's row. The web process's role has no right on it.
TABLE = """
CREATE TABLE deletions (
    id uuid PRIMARY KEY,
    deleted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX deletions_deleted_at ON deletions (deleted_at);
GRANT SELECT, INSERT, DELETE ON deletions TO unbroken_system;
"""
FUNCTION = """
CREATE FUNCTION note_deletions() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO deletions (id) SELECT gone.id FROM gone ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION note_deletions() FROM PUBLIC;
ALTER FUNCTION note_deletions() SET search_path = pg_catalog, public, pg_temp;
"""
TABLES = ("conversations", "generations")


def upgrade() -> None:
    quickly(
        TABLE,
        FUNCTION,
        *(
            f"""CREATE TRIGGER note_deletions AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone
                FOR EACH STATEMENT EXECUTE FUNCTION note_deletions()"""
            for table in TABLES
        ),
        "GRANT CREATE ON SCHEMA public TO unbroken_definer",
        "ALTER FUNCTION note_deletions() OWNER TO unbroken_definer",
        "REVOKE CREATE ON SCHEMA public FROM unbroken_definer",
    )


def downgrade() -> None:
    quickly(
        *(f"DROP TRIGGER note_deletions ON {table}" for table in TABLES),
        "DROP FUNCTION note_deletions()",
        "DROP TABLE deletions",
    )
