"""tokens with role, expiry and use

Revision ID: 0004
Revises: 0003
Create Date: 2026-11-25 21:26:00.000000

"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("token", sa.Column("role", sa.String(length=32), nullable=True))
    op.add_column("token", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("token", sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))


def downgrade():
    op.drop_column("token", "last_used_at")
    op.drop_column("token", "expires_at")
    op.drop_column("token", "role")
