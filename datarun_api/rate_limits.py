"""General rate limits, if the operator sets one: so many requests from an address in a time.

Counted on the same Redis as the queues. While it is away each process counts for itself, and a
request never fails because of it.
"""

from flask import Flask, request
from flask_limiter import Limiter

from datarun_api.logins import find_network

EXEMPT = frozenset({"health.get_health"})
"""Who looks after the API must see it even then."""


def init_rate_limits(app: Flask) -> None:
    """Limit requests as `DATARUN_RATE_LIMIT` says; without it nothing is done and costs nothing."""
    limits = app.config["RATE_LIMIT"]
    if not limits:
        return
    connection = app.extensions["datarun_queues"].connection
    Limiter(
        find_network,
        app=app,
        application_limits=[limits],
        application_limits_exempt_when=lambda: request.endpoint in EXEMPT,
        storage_uri="redis://",
        storage_options={"connection_pool": connection.connection_pool},
        key_prefix="datarun-requests",
        headers_enabled=True,
        in_memory_fallback_enabled=True,
        swallow_errors=True,
    )
