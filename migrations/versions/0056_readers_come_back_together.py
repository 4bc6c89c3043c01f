"""A web process reads the generations of several users in one statement: for each pair of ids the row of that user."""

from migrations.definer import create_definers, drop_functions
from migrations.online import quickly

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None

# Row n of the result belongs to pair n: the generation, if the user of the pair owns it. These are the rows that the
# policy own_rows of generations shows to that user. The columns are ids and positions, and no text.
FOR_THE_SERVICE = {
    "generations_of_users(owners uuid[], wanted uuid[])": """
        RETURNS TABLE (pair bigint, user_id uuid, id uuid, conversation_id uuid, message_id uuid, user_message_id uuid,
            status text, epoch integer, final_epoch integer, final_n integer)
        LANGUAGE plpgsql STABLE AS $$
        #variable_conflict use_column
        BEGIN
            RETURN QUERY SELECT p.pair, g.user_id, g.id, g.conversation_id, g.message_id, g.user_message_id,
                g.status, g.epoch, g.final_epoch, g.final_n
            FROM unnest(owners, wanted) WITH ORDINALITY AS p (owner, generation, pair)
            JOIN generations g ON g.id = p.generation AND g.user_id = p.owner;
        END $$""",
}


def upgrade() -> None:
    quickly(*create_definers(FOR_THE_SERVICE, "unbroken_app"))


def downgrade() -> None:
    quickly(*drop_functions(FOR_THE_SERVICE))
