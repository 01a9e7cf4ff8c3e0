"""folds of high priority

Revision ID: 0013
Revises: 0012
Create Date: 2026-11-26 01:05:00.000000

"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade():
    op.create_index(
        "ix_submission_fold_high",
        "submission_fold",
        ["owner_id", "databoard_sf_id"],
        unique=False,
        postgresql_where=sa.text("priority = 'H'"),
    )


def downgrade():
    op.drop_index("ix_submission_fold_high", table_name="submission_fold")
