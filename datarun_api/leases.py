"""Leases: how long a silent worker keeps what it runs, and which workers are live.

Only the database's clock counts.
"""

from datetime import timedelta

from flask import current_app
from sqlalchemy import ColumnElement, any_, func, literal

from datarun_api.models import Worker
from datarun_client.states import Queue


def get_lease() -> timedelta:
    """Say how long a lease lasts."""
    return timedelta(seconds=current_app.config["LEASE"])


def is_live() -> ColumnElement[bool]:
    """Say in SQL that a worker was heard within a lease."""
    return Worker.last_seen > func.now() - get_lease()


def serves(queue: Queue) -> ColumnElement[bool]:
    """Say in SQL that a worker serves a queue."""
    return literal(queue.value) == any_(Worker.queues)
