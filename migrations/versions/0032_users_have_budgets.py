"""Budgets that administrators set for users. A user without a row has the budget of the deployment."""

from migrations.definer import create_definers, drop_functions
from migrations.online import quickly

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

# ``limits``: a limit that is null is none, and a limit that is not named is that of the deployment. Users read their
# own row, and only administrators write it.
TABLE = """
CREATE TABLE budgets (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    limits jsonb NOT NULL,
    last_updated timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE budgets ENABLE ROW LEVEL SECURITY;
ALTER TABLE budgets FORCE ROW LEVEL SECURITY;
GRANT SELECT ON budgets TO unbroken_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON budgets TO unbroken_system;
CREATE POLICY own_rows ON budgets TO unbroken_app
    USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
CREATE POLICY every_row ON budgets TO unbroken_system USING (true) WITH CHECK (true);
"""
FOR_OPERATORS = {
    # False: there is no such user.
    "set_budget(wanted uuid, given jsonb)": """
        RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
            IF NOT EXISTS (SELECT FROM users WHERE id = wanted) THEN
                RETURN false;
            END IF;
            INSERT INTO budgets (user_id, limits) VALUES (wanted, given)
                ON CONFLICT (user_id) DO UPDATE SET limits = EXCLUDED.limits, last_updated = now();
            RETURN true;
        END $$""",
}


def upgrade() -> None:
    quickly(TABLE, *create_definers(FOR_OPERATORS, "unbroken_operator"))


def downgrade() -> None:
    quickly(*drop_functions(FOR_OPERATORS), "DROP TABLE budgets")
