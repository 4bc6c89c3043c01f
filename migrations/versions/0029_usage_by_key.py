"""Usage is counted by API key beside the day of its user, and cached input has prices of its own.

`usage_days` keeps its columns and its key: it has all usage of a user, of all credentials together, and an earlier
release goes on adding to it.
"""

from migrations.online import quickly

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

# NULL: another credential than an API key asked for the answer, or an earlier release accepted it.
GENERATIONS = "ALTER TABLE generations ADD COLUMN key_id text"

# NULL: cached input costs as much as other input.
MODELS = """
ALTER TABLE models
    ADD COLUMN cached_input_price numeric(14, 6) CHECK (cached_input_price >= 0),
    ADD COLUMN cache_write_price numeric(14, 6) CHECK (cache_write_price >= 0);
"""

USAGE = """
ALTER TABLE usage_days ADD COLUMN cached_tokens bigint NOT NULL DEFAULT 0;
CREATE TABLE key_usage_days (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    key_id text NOT NULL,
    day date NOT NULL,
    model text NOT NULL,
    currency text NOT NULL,
    generations bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    cost numeric,
    PRIMARY KEY (user_id, key_id, day, model, currency)
) WITH (fillfactor = 50);
ALTER TABLE key_usage_days ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE ON key_usage_days TO unbroken_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON key_usage_days TO unbroken_system;
CREATE POLICY own_rows ON key_usage_days TO unbroken_app
    USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
CREATE POLICY every_row ON key_usage_days TO unbroken_system USING (true) WITH CHECK (true);
"""


def upgrade() -> None:
    quickly(GENERATIONS, MODELS, USAGE)


def downgrade() -> None:
    quickly("""
        DROP TABLE key_usage_days;
        ALTER TABLE usage_days DROP COLUMN cached_tokens;
        ALTER TABLE models DROP COLUMN cached_input_price, DROP COLUMN cache_write_price;
        ALTER TABLE generations DROP COLUMN key_id;
    """)
