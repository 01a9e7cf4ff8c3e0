"""The API of datarun: thin, owner of the database, blind to what the jobs compute.

A request takes one way through the package: `app` made the application, `auth` says who asks,
`schemas` says what may come in, a view in `views` calls one function of the module of its noun
(`raw_data`, `folds`, `uploads`, `webhooks`, `scoring`, ...), which changes the rows of `models` in
one transaction and after the commit puts jobs on `queues`. Files go to `storage` by their SHA-256.
`wire` writes what goes out, and `errors` gives every refusal its one shape.

Everything lies under ``/runapp/``; an account sees its own data sets, submissions and folds only.

=====================================  =========================================================
below ``/runapp/``                     is for
=====================================  =========================================================
``rawdata/``                           data sets, their splits (`views.raw_data`), their files
                                       (`views.files`), who is called about them
                                       (`views.webhooks`)
``submissionfold/``, ``submission/``   folds and submissions (`views.submission_folds`), their
                                       files (`views.files`)
``testpredictions/``                   predictions, handed out (`views.predictions`)
``uploads/``                           files before what they belong to (`views.uploads`)
``events/``                            every change of a fold's state (`views.events`)
``workers/``, ``queues/``              what an operator looks at (`views.workers`)
``worker/``                            compute machines, with Bearer tokens (`views.worker`,
                                       `views.worker_scorings`)
=====================================  =========================================================

``/health`` tells whether PostgreSQL and Redis answer, ``/openapi.json`` describes every call and
``/docs`` shows that.

Beside the requests one `reconciler` finds what is stuck, calls webhooks (`deliveries`) and deletes
what nobody needs (`garbage`). `standalone` runs all of datarun on one machine (`supervisor`,
`embedded`, `home`).
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
