"""lists by state and by change, hashes of predictions, uploads

Revision ID: 0005
Revises: 0004
Create Date: 2026-11-25 21:10:00.000000

"""

import hashlib
import zlib

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PARTS = ("full_train", "test")


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
    for part in PARTS:
        op.add_column("submission_fold", sa.Column(f"{part}_sha256", sa.String(64), nullable=True))
        hash_predictions(part)


def hash_predictions(part):
    """Note the SHA-256 of the predictions that are there."""
    connection = op.get_bind()
    names = ("owner_id", "databoard_sf_id", f"{part}_predictions", f"{part}_sha256")
    fold = sa.table("submission_fold", *map(sa.column, names))
    owner_id, databoard_sf_id, predictions, sha256 = fold.columns
    keys = sa.select(owner_id, databoard_sf_id).where(predictions.is_not(None))
    for key in connection.execute(keys).all():
        is_fold = sa.tuple_(owner_id, databoard_sf_id) == tuple(key)
        packed = connection.scalar(sa.select(predictions).where(is_fold))
        digest = hashlib.sha256(zlib.decompress(packed)).hexdigest()
        connection.execute(sa.update(fold).where(is_fold).values({sha256: digest}))


def downgrade():
    for part in PARTS:
        op.drop_column("submission_fold", f"{part}_sha256")
    op.drop_index("ix_submission_fold_state", table_name="submission_fold")
    op.drop_index("ix_submission_fold_changed", table_name="submission_fold")
    op.drop_column("submission_fold", "changed_at")
