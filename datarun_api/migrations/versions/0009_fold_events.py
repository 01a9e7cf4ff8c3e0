"""fold events

Revision ID: 0009
Revises: 0008
Create Date: 2026-11-25 21:20:00.000000

"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "fold_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("databoard_sf_id", sa.Integer(), nullable=False),
        sa.Column("databoard_s", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("failure_kind", sa.String(length=32), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["account.id"], name=op.f("fk_fold_event_owner_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fold_event")),
    )
    op.create_index("ix_fold_event_owner_id", "fold_event", ["owner_id", "id"], unique=False)
    op.create_index(op.f("ix_fold_event_created_at"), "fold_event", ["created_at"], unique=False)
    op.add_column(
        "account",
        sa.Column("events_trimmed_to", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.alter_column("account", "events_trimmed_to", server_default=None)
    # `datarun_api.events` tells why it is like this.
    op.execute(
        """
        CREATE FUNCTION record_fold_event() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            -- 0x666f6c64 is "fold" in ASCII.
            PERFORM pg_advisory_xact_lock(1718578276, NEW.owner_id);
            INSERT INTO fold_event
                (owner_id, databoard_sf_id, databoard_s, state, failure_kind, attempt)
            VALUES
                (NEW.owner_id, NEW.databoard_sf_id, NEW.databoard_s, NEW.state,
                 NEW.failure_kind, NEW.attempt);
            PERFORM pg_notify('datarun_fold_event', NEW.owner_id::text);
            RETURN NULL;
        END
        $$
        """
    )
    op.execute(
        """
        CREATE CONSTRAINT TRIGGER record_fold_event
        AFTER UPDATE OF state ON submission_fold
        DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state)
        EXECUTE FUNCTION record_fold_event()
        """
    )


def downgrade():
    op.execute("DROP TRIGGER record_fold_event ON submission_fold")
    op.execute("DROP FUNCTION record_fold_event()")
    op.drop_column("account", "events_trimmed_to")
    op.drop_table("fold_event")
