"""notifications name the fold

Revision ID: 0014
Revises: 0013
Create Date: 2026-11-26 03:35:00.000000

On a channel of their own: the listener of an earlier release, which may still run while this is
applied, reads nothing but an account's number from the old one and would end. So it hears nothing
any more, and its requests look again every 15 s; so do this release's before this is applied.
"""

from alembic import op

# revision identifiers, used by Alembic.
revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

FUNCTION = """
    CREATE OR REPLACE FUNCTION record_fold_event() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        -- 0x666f6c64 is "fold" in ASCII.
        PERFORM pg_advisory_xact_lock(1718578276, NEW.owner_id);
        INSERT INTO fold_event
            (owner_id, databoard_sf_id, databoard_s, state, failure_kind, attempt)
        VALUES
            (NEW.owner_id, NEW.databoard_sf_id, NEW.databoard_s, NEW.state,
             NEW.failure_kind, NEW.attempt);
        PERFORM pg_notify(NOTIFICATION);
        RETURN NULL;
    END
    $$
"""
"""As of 0009, but for what it notifies."""


def upgrade():
    notification = "'datarun_fold', NEW.owner_id || ':' || NEW.databoard_sf_id"
    op.execute(FUNCTION.replace("NOTIFICATION", notification))


def downgrade():
    op.execute(FUNCTION.replace("NOTIFICATION", "'datarun_fold_event', NEW.owner_id::text"))
