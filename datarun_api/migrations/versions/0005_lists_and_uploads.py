"""lists by state and by change

Revision ID: 0005
Revises: 0002
Create Date: 2026-11-25 21:10:00.000000

"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision = "0005"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column(
        "submission_fold",
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
    )
    op.create_index(
        "ix_submission_fold_changed", "submission_fold", ["owner_id", "changed_at"], unique=False
    )
    op.create_index(
        "ix_submission_fold_state",
        "submission_fold",
        ["owner_id", "state", "databoard_sf_id"],
        unique=False,
    )


def downgrade():
    op.drop_index("ix_submission_fold_state", table_name="submission_fold")
    op.drop_index("ix_submission_fold_changed", table_name="submission_fold")
    op.drop_column("submission_fold", "changed_at")
