"""API keys are found by the digest of their secret: a known id costs a guess the time of an unknown one."""

from migrations.definer import create_definers, drop_functions
from migrations.online import online, quickly

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

INDEX = "api_keys_by_digest"
# Older code calls find_api_key.
FUNCTIONS = {
    "api_key_of(wanted bytea)": """
        RETURNS TABLE (id uuid, user_id uuid, subject text, role text, scopes text[], models text[],
            limits jsonb, expires_at timestamptz, is_valid boolean, is_use_noted boolean) LANGUAGE sql STABLE AS $$
        SELECT k.id, k.user_id, u.subject, k.role, k.scopes, k.models, k.limits, k.expires_at,
            k.ended_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()),
            coalesce(k.last_used_at > now() - interval '1 minute', false)
        FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.digest = wanted $$""",
}


def upgrade() -> None:
    with online() as steps:
        steps.index(INDEX, "UNIQUE INDEX {name} ON api_keys (digest)")
    quickly(*create_definers(FUNCTIONS, "unbroken_app", "unbroken_system"))


def downgrade() -> None:
    with online() as steps:
        steps.drop_index(INDEX)
    quickly(*drop_functions(FUNCTIONS))
