"""Whether the servers behind the API answer."""

from flask import Response, jsonify
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from datarun_api.blueprints import Blueprint
from datarun_api.errors import RETRY_AFTER
from datarun_api.extensions import db, get_queues
from datarun_api.schemas import HealthSchema

blueprint = Blueprint("health", __name__, description="Whether the servers behind it answer.")

OK = "ok"


@blueprint.route("/health")
@blueprint.response(200, HealthSchema)
@blueprint.alt_response(503, schema=HealthSchema, description="One of them doesn't answer.")
def get_health() -> Response:
    """Tell whether PostgreSQL and Redis answer, and which doesn't."""
    servers = {"postgresql": check_postgresql(), "redis": check_redis()}
    healthy = all(answer == OK for answer in servers.values())
    response = jsonify(status=OK if healthy else "unavailable", **servers)
    if not healthy:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def check_postgresql() -> str:
    """Ask PostgreSQL for a sign of life."""
    try:
        db.session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        db.session.rollback()
        return "no answer"
    return OK


def check_redis() -> str:
    """Ask Redis for a sign of life."""
    try:
        get_queues().connection.ping()
    except RedisError:
        return "no answer"
    return OK
