"""The views: a blueprint a noun, a few lines a view."""

from flask import Flask
from flask_smorest import Api

from datarun_api.views import (
    documentation,
    events,
    files,
    health,
    predictions,
    raw_data,
    submission_folds,
    uploads,
    webhooks,
    worker,
    worker_scorings,
    workers,
)

PREFIX = "/runapp"


def register(app: Flask, api: Api) -> None:
    """Give the application its views; those of `api` stand in `/openapi.json`."""
    for module in (
        raw_data,
        submission_folds,
        predictions,
        uploads,
        files,
        events,
        webhooks,
        workers,
    ):
        api.register_blueprint(module.blueprint, url_prefix=PREFIX)
    api.register_blueprint(
        worker_scorings.blueprint, url_prefix=PREFIX, parameters=[worker.PROTOCOL_PARAMETER]
    )
    api.register_blueprint(health.blueprint)
    app.register_blueprint(documentation.blueprint)
