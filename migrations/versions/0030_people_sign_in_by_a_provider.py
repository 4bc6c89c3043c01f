"""People who sign in by an identity provider, and their sign-ins that have begun."""

from migrations.definer import create_definers, drop_functions
from migrations.online import quickly

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

TABLES = """
-- The subject of the user is made of issuer and subject: one user has one identity.
CREATE TABLE identities (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    issuer text NOT NULL CHECK (length(issuer) BETWEEN 1 AND 1000),
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    email text CHECK (length(email) <= 255),
    name text CHECK (length(name) <= 255),
    created_at timestamptz NOT NULL DEFAULT now(),
    signed_in_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (issuer, subject)
);
ALTER TABLE identities ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE (email, name, signed_in_at), DELETE ON identities TO unbroken_app;
GRANT SELECT, DELETE ON identities TO unbroken_system;
CREATE POLICY own_rows ON identities TO unbroken_app
    USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
CREATE POLICY every_row ON identities TO unbroken_system USING (true) WITH CHECK (true);

-- Nobody is signed in yet: a row belongs to the browser whose cookie has this digest. The web processes reach a row by
-- the functions below only.
CREATE TABLE sign_in_requests (
    state bytea PRIMARY KEY,
    browser bytea NOT NULL,
    nonce text NOT NULL,
    verifier text NOT NULL,
    next text NOT NULL CHECK (length(next) <= 2048),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sign_in_requests_by_end ON sign_in_requests (expires_at);
-- UPDATE is for the lock of a row that is removed.
GRANT SELECT, UPDATE, DELETE ON sign_in_requests TO unbroken_system;
GRANT SELECT, INSERT, DELETE ON sign_in_requests TO unbroken_definer;
"""
FUNCTIONS = {
    "begin_sign_in(state bytea, browser bytea, nonce text, verifier text, next text, seconds float8)": """
        RETURNS void LANGUAGE sql VOLATILE AS $$
        INSERT INTO sign_in_requests
        VALUES (state, browser, nonce, verifier, next, now() + make_interval(secs => seconds)) $$""",
    # Of two answers to one request, the second waits for the first, and finds no row.
    "take_sign_in(wanted bytea, of_browser bytea)": """
        RETURNS TABLE (nonce text, verifier text, next text) LANGUAGE sql VOLATILE AS $$
        DELETE FROM sign_in_requests r WHERE r.state = wanted AND r.browser = of_browser AND r.expires_at > now()
        RETURNING r.nonce, r.verifier, r.next $$""",
    "user_of_identity(wanted_issuer text, wanted_subject text)": """
        RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT i.user_id FROM identities i WHERE i.issuer = wanted_issuer AND i.subject = wanted_subject $$""",
}


def upgrade() -> None:
    quickly(TABLES, *create_definers(FUNCTIONS, "unbroken_app", "unbroken_system"))


def downgrade() -> None:
    quickly(*drop_functions(FUNCTIONS), "DROP TABLE sign_in_requests", "DROP TABLE identities")
