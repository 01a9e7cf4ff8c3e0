"""attempts, leases, workers, turns

Revision ID: 0002
Revises: 0001
Create Date: 2026-11-24 04:16:39.239874

"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

# revision identifiers, used by Alembic.
revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "turn",
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("priority", sa.String(length=32), nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["account.id"], name=op.f("fk_turn_owner_id")),
        sa.PrimaryKeyConstraint("owner_id", "priority", name=op.f("pk_turn")),
    )
    op.create_table(
        "worker",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("version", sa.String(length=50), nullable=False),
        sa.Column("isolation", sa.String(length=50), nullable=False),
        sa.Column("free_disk", sa.BigInteger(), nullable=False),
        sa.Column("free_memory", sa.BigInteger(), nullable=False),
        sa.Column("n_done", sa.Integer(), nullable=False),
        sa.Column(
            "first_seen",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "last_seen", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_worker_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_worker")),
    )
    op.create_index(op.f("ix_worker_last_seen"), "worker", ["last_seen"], unique=False)
    op.create_table(
        "attempt",
        sa.Column("owner_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("databoard_sf_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=False),
        sa.Column("queue", sa.String(length=32), nullable=False),
        sa.Column("hash_files", sa.String(length=64), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=32), nullable=True),
        sa.Column("failure_kind", sa.String(length=32), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("measures", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["owner_id", "databoard_sf_id"],
            ["submission_fold.owner_id", "submission_fold.databoard_sf_id"],
            name=op.f("fk_attempt_owner_id_databoard_sf_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("owner_id", "databoard_sf_id", "number", name=op.f("pk_attempt")),
    )
    op.create_index(
        "ix_attempt_ended",
        "attempt",
        ["ended_at"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_index(
        "ix_attempt_running",
        "attempt",
        ["worker"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.add_column(
        "raw_data", sa.Column("split_lease_until", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column(
        "raw_data", sa.Column("split_losses", sa.Integer(), nullable=False, server_default="0")
    )
    op.alter_column("raw_data", "split_losses", server_default=None)
    op.create_index(
        "ix_raw_data_splitting",
        "raw_data",
        ["id"],
        unique=False,
        postgresql_where=sa.text("split_state = 'TODO'"),
    )
    # What ran during the upgrade gets a lease of no time: the reconciler gives it one, or takes it.
    op.execute("UPDATE raw_data SET split_lease_until = now() WHERE split_running")
    op.drop_column("raw_data", "split_running")
    op.add_column(
        "submission_fold", sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column(
        "submission_fold", sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column(
        "submission_fold", sa.Column("avoided_worker", sa.String(length=200), nullable=True)
    )
    op.alter_column(
        "submission_fold",
        "queued_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        nullable=True,
        server_default=None,
        existing_server_default=sa.text("now()"),
    )
    op.drop_index(
        op.f("ix_submission_fold_running"), table_name="submission_fold", postgresql_where="running"
    )
    op.drop_index(
        op.f("ix_submission_fold_waiting"),
        table_name="submission_fold",
        postgresql_where="(((state)::text = 'TODO'::text) AND (NOT running))",
    )
    op.create_index(
        "ix_submission_fold_lease",
        "submission_fold",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("lease_until IS NOT NULL"),
    )
    op.create_index(
        "ix_submission_fold_queued",
        "submission_fold",
        ["priority", "owner_id", "queued_at"],
        unique=False,
        postgresql_where=sa.text("queued_at IS NOT NULL"),
    )
    op.create_index(
        "ix_submission_fold_retry",
        "submission_fold",
        ["retry_at"],
        unique=False,
        postgresql_where=sa.text("retry_at IS NOT NULL"),
    )
    op.create_index(
        "ix_submission_fold_waits_for_split",
        "submission_fold",
        ["owner_id", "databoard_s"],
        unique=False,
        postgresql_where=sa.text(
            "state = 'TODO' AND lease_until IS NULL AND queued_at IS NULL AND retry_at IS NULL"
        ),
    )
    op.execute("UPDATE submission_fold SET lease_until = now() WHERE running")
    op.execute(
        "INSERT INTO attempt "
        "(owner_id, databoard_sf_id, number, worker, queue, hash_files, started_at) "
        "SELECT owner_id, databoard_sf_id, attempt, coalesce(worker, 'unknown'), "
        "CASE priority WHEN 'H' THEN 'high' ELSE 'low' END, coalesce(hash_files, ''), "
        "coalesce(started_at, now()) FROM submission_fold WHERE running"
    )
    # Only what waits for a worker is queued; not what runs, has ended, or waits for its split.
    op.execute(
        "UPDATE submission_fold f SET queued_at = NULL FROM submission s, raw_data d "
        "WHERE s.owner_id = f.owner_id AND s.databoard_s_id = f.databoard_s "
        "AND d.id = s.raw_data_id "
        "AND (f.running OR f.state IN ('TESTED', 'ERROR') OR d.split_state <> 'DONE')"
    )
    op.drop_column("submission_fold", "running")
    op.drop_column("submission_fold", "worker")


def downgrade():
    raise NotImplementedError("go back by restoring a backup: attempts can't be forgotten")
