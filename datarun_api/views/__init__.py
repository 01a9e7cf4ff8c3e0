"""The views: a blueprint a noun, a few lines a view."""

from flask_smorest import Api

from datarun_api.views import (
    health,
    predictions,
    raw_data,
    submission_folds,
    worker,
    workers,
)

PREFIX = "/runapp"


def register(api: Api) -> None:
    """Give the application its views."""
    for module in (raw_data, submission_folds, predictions, worker, workers):
        api.register_blueprint(module.blueprint, url_prefix=PREFIX)
    api.register_blueprint(health.blueprint)
