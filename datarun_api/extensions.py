"""The extensions, not yet bound to an application, and the way to what it keeps."""

from flask import current_app
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy.exc import DBAPIError

from datarun_api.models import Base
from datarun_api.queues import Queues
from datarun_api.storage import Storage


class PatientSession(Session):
    """A session that ends without an error when PostgreSQL went away with its connection.

    It is closed after the answer is made, and what isn't committed then is meant to be lost: an
    error would only put gunicorn's own 500 in the answer's place.
    """

    def close(self) -> None:
        """Close it; a connection that can't even be rolled back is thrown away."""
        try:
            super().close()
        except DBAPIError:
            self.invalidate()


# Rows stay readable after the commit: what is enqueued and answered then needs no second look.
db = SQLAlchemy(
    model_class=Base, session_options={"expire_on_commit": False, "class_": PatientSession}
)
migrate = Migrate(render_as_batch=False)


def get_storage() -> Storage:
    """Find the application's storage."""
    storage: Storage = current_app.extensions["datarun_storage"]
    return storage


def get_queues() -> Queues:
    """Find the application's queues."""
    queues: Queues = current_app.extensions["datarun_queues"]
    return queues
