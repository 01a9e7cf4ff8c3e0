"""The database session: it can turn many commits into one, and ends without an error.

A function that changes something commits by itself when it is done. Where a request must keep
more in the same transaction (`idempotency`), `Session.holding_commits` holds these commits back:
each becomes the end of a savepoint, each rollback goes back to the last one, and the transaction
is committed, whole, when the block ends without an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import flask_sqlalchemy.session
from sqlalchemy.exc import DBAPIError


class Session(flask_sqlalchemy.session.Session):
    """A session whose commits can be held back, and that bears a PostgreSQL which went away.

    It is closed after the answer is made, and what isn't committed then is meant to be lost: an
    error would only put gunicorn's own 500 in the answer's place.
    """

    _holds_commits = False

    @contextmanager
    def holding_commits(self) -> Iterator[None]:
        """Make all commits of a block one, at its end; an error takes all of it back."""
        self.begin_nested()
        self._holds_commits = True
        try:
            yield
        except BaseException:
            self._holds_commits = False
            self.rollback()
            raise
        self._holds_commits = False
        self.commit()

    def commit(self) -> None:
        """Commit, or end the savepoint if commits are held back."""
        savepoint = self.get_nested_transaction() if self._holds_commits else None
        if savepoint is None:
            super().commit()
        else:
            savepoint.commit()
            self.begin_nested()

    def rollback(self) -> None:
        """Roll back, to the last savepoint if commits are held back."""
        savepoint = self.get_nested_transaction() if self._holds_commits else None
        if savepoint is None:
            super().rollback()
        else:
            savepoint.rollback()
            self.begin_nested()

    def close(self) -> None:
        """Close it; a connection that can't even be rolled back is thrown away."""
        self._holds_commits = False
        try:
            super().close()
        except DBAPIError:
            self.invalidate()
