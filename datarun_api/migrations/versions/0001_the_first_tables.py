"""the first tables

Revision ID: 0001
Revises:
Create Date: 2026-11-24 03:44:02.807797

"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

# revision identifiers, used by Alembic.
revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "account",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("views_id", sa.Integer(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["views_id"], ["account.id"], name=op.f("fk_account_views_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
    )
    op.create_table(
        "raw_data",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("target_column", sa.String(length=200), nullable=False),
        sa.Column("workflow_elements", sa.String(length=200), nullable=False),
        sa.Column("files", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reader", sa.String(length=32), nullable=False),
        sa.Column("time_limit", sa.Double(), nullable=True),
        sa.Column("memory_limit", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("split_state", sa.String(length=32), nullable=False),
        sa.Column("split_running", sa.Boolean(), nullable=False),
        sa.Column("split_attempt", sa.Integer(), nullable=False),
        sa.Column("split_error", sa.Text(), nullable=True),
        sa.Column("held_out_test", sa.Double(), nullable=True),
        sa.Column("random_state", sa.BigInteger(), nullable=True),
        sa.Column("parts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("n_train", sa.Integer(), nullable=True),
        sa.Column("n_test", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["account.id"], name=op.f("fk_raw_data_owner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raw_data")),
        sa.UniqueConstraint("owner_id", "name", name=op.f("uq_raw_data_owner_id_name")),
    )
    op.create_table(
        "token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("runs_data_jobs", sa.Boolean(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["account.id"], name=op.f("fk_token_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.UniqueConstraint("sha256", name=op.f("uq_token_sha256")),
    )
    op.create_index("ix_token_user_id", "token", ["user_id"], unique=False)

    op.create_table(
        "submission",
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("databoard_s_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("raw_data_id", sa.Integer(), nullable=False),
        sa.Column("files", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("hash_files", sa.String(length=64), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["account.id"], name=op.f("fk_submission_owner_id")),
        sa.ForeignKeyConstraint(
            ["raw_data_id"], ["raw_data.id"], name=op.f("fk_submission_raw_data_id")
        ),
        sa.PrimaryKeyConstraint("owner_id", "databoard_s_id", name=op.f("pk_submission")),
    )
    op.create_index("ix_submission_raw_data_id", "submission", ["raw_data_id"], unique=False)

    op.create_table(
        "submission_fold",
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("databoard_sf_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("databoard_s", sa.Integer(), nullable=False),
        sa.Column("train_is", sa.LargeBinary(), nullable=False),
        sa.Column("test_is", sa.LargeBinary(), nullable=False),
        sa.Column("max_index", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("running", sa.Boolean(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("n_losses", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=True),
        sa.Column("failure_kind", sa.String(length=32), nullable=True),
        sa.Column("log_messages", sa.Text(), nullable=False),
        sa.Column("hash_files", sa.String(length=64), nullable=True),
        sa.Column("full_train_predictions", sa.LargeBinary(), nullable=True),
        sa.Column("full_train_shape", postgresql.ARRAY(sa.Integer()), nullable=True),
        sa.Column("test_predictions", sa.LargeBinary(), nullable=True),
        sa.Column("test_shape", postgresql.ARRAY(sa.Integer()), nullable=True),
        sa.Column("result_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("new", sa.Boolean(), nullable=False),
        sa.Column("train_time", sa.Double(), nullable=False),
        sa.Column("validation_time", sa.Double(), nullable=False),
        sa.Column("test_time", sa.Double(), nullable=False),
        sa.Column("train_cpu_time", sa.Double(), nullable=False),
        sa.Column("test_cpu_time", sa.Double(), nullable=False),
        sa.Column("train_memory", sa.Double(), nullable=False),
        sa.Column("test_memory", sa.Double(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "queued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["owner_id", "databoard_s"],
            ["submission.owner_id", "submission.databoard_s_id"],
            name=op.f("fk_submission_fold_owner_id_databoard_s"),
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["account.id"], name=op.f("fk_submission_fold_owner_id")
        ),
        sa.PrimaryKeyConstraint("owner_id", "databoard_sf_id", name=op.f("pk_submission_fold")),
    )
    op.create_index(
        "ix_submission_fold_new",
        "submission_fold",
        ["owner_id", "databoard_sf_id"],
        unique=False,
        postgresql_where=sa.text("new AND state = 'TESTED'"),
    )
    op.create_index(
        "ix_submission_fold_running",
        "submission_fold",
        ["owner_id", "databoard_sf_id"],
        unique=False,
        postgresql_where=sa.text("running"),
    )
    op.create_index(
        "ix_submission_fold_submission",
        "submission_fold",
        ["owner_id", "databoard_s"],
        unique=False,
    )
    op.create_index(
        "ix_submission_fold_waiting",
        "submission_fold",
        ["priority", "queued_at"],
        unique=False,
        postgresql_where=sa.text("state = 'TODO' AND NOT running"),
    )

    # What is large here is compressed already: PostgreSQL shouldn't try again.
    for column in ("train_is", "test_is", "full_train_predictions", "test_predictions"):
        op.execute(f"ALTER TABLE submission_fold ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade():

    op.drop_table("submission_fold")

    op.drop_table("submission")

    op.drop_table("token")
    op.drop_table("raw_data")
    op.drop_table("account")
