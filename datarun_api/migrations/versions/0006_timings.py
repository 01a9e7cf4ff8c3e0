"""timings of folds

Revision ID: 0006
Revises: 0005
Create Date: 2026-11-25 21:25:11.402157

"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

# revision identifiers, used by Alembic.
revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column(
        "submission_fold",
        sa.Column(
            "posted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
    )
    op.add_column(
        "submission_fold",
        sa.Column(
            "timings",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
    )
    op.execute("UPDATE submission_fold SET posted_at = created_at")


def downgrade():
    op.drop_column("submission_fold", "timings")
    op.drop_column("submission_fold", "posted_at")
