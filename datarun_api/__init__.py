"""The API of datarun: thin, owner of the database, blind to what the jobs compute.

A request takes one way through the package: `app` made the application, `auth` says who asks,
`schemas` says what may come in, a view in `views` calls one function of `raw_data`, `folds` or
`splits`, which changes the rows of `models` in one transaction and after the commit puts jobs on
`queues`. Files go to `storage` by their SHA-256. `errors` gives every refusal its one shape.

Everything lies under ``/runapp/``; an account sees its own data sets, submissions and folds only.
``/runapp/worker/`` is for the compute machines, with Bearer tokens. ``/health`` tells whether
PostgreSQL and Redis answer, ``/openapi.json`` describes every call.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datarun_api.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    """Import the application when it is asked for: not every command needs Flask."""
    if name == "create_app":
        from datarun_api.app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
