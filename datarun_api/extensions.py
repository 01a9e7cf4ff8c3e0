"""The extensions, not yet bound to an application, and the way to what it keeps."""

from flask import current_app
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

from datarun_api.models import Base
from datarun_api.queues import Queues
from datarun_api.storage import Storage
from datarun_api.transactions import Session

# Rows stay readable after the commit: what is enqueued and answered then needs no second look.
db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False, "class_": Session})
migrate = Migrate(render_as_batch=False)


def get_storage() -> Storage:
    """Find the application's storage."""
    storage: Storage = current_app.extensions["datarun_storage"]
    return storage


def get_queues() -> Queues:
    """Find the application's queues."""
    queues: Queues = current_app.extensions["datarun_queues"]
    return queues


def get_session() -> Session:
    """Find this request's session, for what its proxy `db.session` doesn't have."""
    session = db.session()
    assert isinstance(session, Session)  # noqa: S101  # the type that `db` was told
    return session


def release_connection() -> None:
    """Give this request's database connection back, for as long as it waits."""
    db.session.remove()
