"""Words of scripts without spaces are found in pairs of letters, and words with accents also without them."""

from importlib import import_module

from migrations.online import online, quickly

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

# Letters of scripts that have no spaces between words, and those of Korean, whose particles are joined to its words.
# app/domain/search_words.py has the same ranges.
WIDE = (
    r"\u0E01-\u0E3A\u0E40-\u0E4E\u0E80-\u0EDF\u1000-\u109F\u1780-\u17D3\u3005-\u3007\u3041-\u3096\u309D-\u309F"
    r"\u30A1-\u30FA\u30FC-\u30FF\u31F0-\u31FF\u3400-\u4DBF\u4E00-\u9FFF\uAC00-\uD7A3\uF900-\uFAFF"
    r"\U00020000-\U0003FFFF"
)
# A text of only such letters has as many pairs as letters: more than these would not fit into a tsvector (1 MB).
WIDE_CHARS = 50_000

# The pairs are those that begin at the first, third, … letter of a run, then those that begin at the second, fourth, ….
# A last letter without a partner is a word of its own. Accents are taken off; other marks stay.
FUNCTIONS = rf"""
CREATE OR REPLACE FUNCTION without_accents(content text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    normalize(regexp_replace(normalize(content, NFD), '[\u0300-\u036F]', '', 'g'), NFC);
CREATE OR REPLACE FUNCTION pairs_of_letters(content text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    regexp_replace(regexp_replace(content, '([{WIDE}]+)', ' \1 ', 'g'), '([{WIDE}][{WIDE}])', '\1 ', 'g')
    || ' ' || regexp_replace(
        regexp_replace(regexp_replace(content, '[^{WIDE}]+', ' ', 'g'), '(^| )[^ ]', '\1', 'g'),
        '([{WIDE}][{WIDE}])', '\1 ', 'g'
    );
CREATE OR REPLACE FUNCTION searchable(content text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CASE
        WHEN octet_length(content) = length(content) THEN left(content, 100000)
        WHEN content ~ '[{WIDE}]' THEN pairs_of_letters(
            left(without_accents(left(content, {WIDE_CHARS})), {WIDE_CHARS})
        )
        ELSE left(without_accents(left(content, 100000)), 100000)
    END;
-- The word =2 marks the rows that this migration has filled.
CREATE OR REPLACE FUNCTION words_of_message(user_id uuid, created_at timestamptz, content text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    array_to_tsvector(ARRAY['=' || CAST(user_id AS text) || '/' || CAST(month_of(created_at) AS text)]
        || CASE WHEN octet_length(content) = length(content) THEN ARRAY[]::text[] ELSE ARRAY['=2'] END)
    || to_tsvector('simple'::regconfig, searchable(content));
CREATE OR REPLACE FUNCTION words_of_conversation(user_id uuid, title text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    array_to_tsvector(ARRAY['=' || CAST(user_id AS text)]
        || CASE WHEN octet_length(title) = length(title) THEN ARRAY[]::text[] ELSE ARRAY['=2'] END)
    || to_tsvector('simple'::regconfig, searchable(coalesce(title, '')));
"""
_UNFILLED = "octet_length({0}) <> length({0}) AND search <> '' AND NOT search @@ CAST('''=2''' AS tsquery)"


def upgrade() -> None:
    with online() as steps:
        steps.change(FUNCTIONS)
        steps.fill(
            "messages", "search = words_of_message(user_id, created_at, content)", _UNFILLED.format("messages.content")
        )
        steps.fill(
            "conversations", "search = words_of_conversation(user_id, title)", _UNFILLED.format("conversations.title")
        )


def downgrade() -> None:
    """Messages that are there keep their words; earlier code finds the words without accents and the pairs."""
    words = import_module("migrations.versions.0005_search_usage_models").COLUMNS
    listed = import_module("migrations.versions.0020_chat_completions_are_not_listed").WORDS
    quickly(words, listed)
    quickly("DROP FUNCTION searchable(text), pairs_of_letters(text), without_accents(text)")
