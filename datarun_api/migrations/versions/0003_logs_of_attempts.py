"""logs of attempts

Revision ID: 0003
Revises: 0002
Create Date: 2026-11-25 21:20:00.000000

"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("attempt", sa.Column("log_messages", sa.Text(), nullable=True))


def downgrade():
    op.drop_column("attempt", "log_messages")
