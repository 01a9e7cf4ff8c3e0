"""scores

Revision ID: 0011
Revises: 0010
Create Date: 2026-11-25 21:55:00.000000

"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

# revision identifiers, used by Alembic.
revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column(
        "raw_data",
        sa.Column("metrics", postgresql.ARRAY(sa.String()), nullable=False, server_default="{}"),
    )
    op.alter_column("raw_data", "metrics", server_default=None)
    op.add_column(
        "submission_fold",
        sa.Column("scores", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    )
    op.create_table(
        "scoring",
        sa.Column("owner_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("databoard_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_stale", sa.Boolean(), nullable=False),
        sa.Column("n_losses", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("bagged", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["owner_id", "databoard_s"],
            ["submission.owner_id", "submission.databoard_s_id"],
            name=op.f("fk_scoring_owner_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("owner_id", "databoard_s", name=op.f("pk_scoring")),
    )
    op.create_index(
        "ix_scoring_todo",
        "scoring",
        ["owner_id", "databoard_s"],
        unique=False,
        postgresql_where=sa.text("state = 'TODO'"),
    )
    # `datarun_api.scoring` tells why it is like this.
    op.execute(
        """
        CREATE FUNCTION request_scoring() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO scoring (owner_id, databoard_s, state, attempt, is_stale, n_losses)
            SELECT NEW.owner_id, NEW.databoard_s, 'TODO', 1, false, 0
            FROM submission JOIN raw_data ON raw_data.id = submission.raw_data_id
            WHERE submission.owner_id = NEW.owner_id
                AND submission.databoard_s_id = NEW.databoard_s
                AND cardinality(raw_data.metrics) > 0
            ON CONFLICT (owner_id, databoard_s) DO UPDATE SET
                attempt = scoring.attempt + (scoring.state <> 'TODO')::integer,
                n_losses = scoring.n_losses * (scoring.state = 'TODO')::integer,
                is_stale = scoring.lease_until IS NOT NULL,
                state = 'TODO';
            RETURN NULL;
        END
        $$
        """
    )
    op.execute(
        """
        CREATE CONSTRAINT TRIGGER request_scoring
        AFTER UPDATE OF state ON submission_fold
        DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW
        WHEN (OLD.state IS DISTINCT FROM NEW.state AND NEW.state IN ('TESTED', 'ERROR'))
        EXECUTE FUNCTION request_scoring()
        """
    )


def downgrade():
    op.execute("DROP TRIGGER request_scoring ON submission_fold")
    op.execute("DROP FUNCTION request_scoring()")
    op.drop_table("scoring")
    op.drop_column("submission_fold", "scores")
    op.drop_column("raw_data", "metrics")
