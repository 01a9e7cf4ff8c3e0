"""How Alembic reaches the database: through the application, online only.

Several processes may want to migrate at the same moment (machines that start together). They take
turns by an advisory lock, and all but the first find nothing left to do.
"""

from alembic import context
from flask import current_app
from sqlalchemy import text

LOCK = 0x64617461
"""The advisory lock's number: "data" in ASCII."""


def run_migrations() -> None:
    """Bring the database to the newest revision."""
    db = current_app.extensions["migrate"].db
    with db.engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            **current_app.extensions["migrate"].configure_args,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
        connection.commit()


run_migrations()
