"""packed columns

Revision ID: 0012
Revises: 0011
Create Date: 2026-11-26 00:45:00.000000

"""

from alembic import op

# revision identifiers, used by Alembic.
revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

PACKED = ("train_is", "test_is", "full_train_predictions", "test_predictions")
"""zlib streams, which PostgreSQL would try to compress once more, in vain."""


def upgrade():
    for column in PACKED:
        op.execute(f"ALTER TABLE submission_fold ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade():
    for column in PACKED:
        op.execute(f"ALTER TABLE submission_fold ALTER COLUMN {column} SET STORAGE EXTENDED")
