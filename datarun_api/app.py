"""The application factory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from flask import Flask, Response
from flask.json.provider import JSONProvider
from werkzeug.middleware.proxy_fix import ProxyFix

from datarun_api import commands, views
from datarun_api.auth import init_auth
from datarun_api.config import load_config, require_settings
from datarun_api.errors import register_error_handlers
from datarun_api.extensions import db, migrate
from datarun_api.logins import init_logins
from datarun_api.openapi import DatarunApi
from datarun_api.pool import POOL, check_connections
from datarun_api.queues import Queues
from datarun_api.rate_limits import init_rate_limits
from datarun_api.security_headers import register_security_headers
from datarun_api.storage import Storage
from datarun_api.timings import init_timings
from datarun_api.waiting import Listener, make_connect
from datarun_client import __version__

JSON_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
"""Errors in a list of fields go by index, which is a number."""


class OrjsonProvider(JSONProvider):
    """JSON by orjson: fast, UTF-8 only, no NaN, bounded depth; dates as ISO 8601."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Write JSON."""
        return orjson.dumps(obj, option=JSON_OPTIONS).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Read JSON."""
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Any:
        """Write a JSON response without turning it into text on the way."""
        payload = self._prepare_response_obj(args, kwargs)
        body = orjson.dumps(payload, option=JSON_OPTIONS)
        return Response(body, mimetype="application/json")


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the application.

    Parameters
    ----------
    config : mapping, optional
        Values that go before those of the environment, by the names of `config.load_config`.

    Raises
    ------
    SettingError
        If a setting can't be read or a needed one is missing.
    """
    app = Flask(__name__, static_folder=None)
    app.config.update(load_config())
    app.config.update(config or {})
    require_settings(app.config, ("DATABASE_URL", "REDIS_URL"))
    app.config.update(
        API_TITLE="datarun",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH="openapi.json",
        MAX_CONTENT_LENGTH=app.config["MAX_JSON"],
        SQLALCHEMY_DATABASE_URI=app.config["DATABASE_URL"],
        SQLALCHEMY_ENGINE_OPTIONS=POOL,
    )
    if proxies := app.config["PROXIES"]:
        # What a proxy doesn't set itself, a client could: so only what the documentation names.
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=0, x_prefix=0
        )
    app.json = OrjsonProvider(app)
    app.url_map.strict_slashes = False

    db.init_app(app)
    with app.app_context():
        check_connections(db.engine)
    migrate.init_app(app, db, directory=str(Path(__file__).parent / "migrations"))
    app.extensions["datarun_storage"] = Storage(Path(app.config["STORAGE"]))
    app.extensions["datarun_queues"] = Queues(app.config["REDIS_URL"], app.config["DATA_QUEUE"])
    app.extensions["datarun_listener"] = Listener(make_connect(app), app.config["MAX_WAITERS"])
    init_auth(app)
    init_logins(app)
    init_rate_limits(app)
    init_timings(app)
    register_error_handlers(app)
    register_security_headers(app)
    views.register(app, DatarunApi(app))
    commands.register(app)
    return app
