"""Compute machines and queues, as an operator looks at them."""

from flask import Response, jsonify
from flask.views import MethodView

from datarun_api.auth import allow
from datarun_api.blueprints import Blueprint
from datarun_api.schemas import QueueSchema, WorkerSchema
from datarun_api.workers import list_queues, list_workers
from datarun_client.states import Role

blueprint = Blueprint("workers", __name__, description="Compute machines and queues.")


@blueprint.route("/workers/")
class WorkerList(MethodView):
    """All workers."""

    @allow(Role.ADMIN, Role.PLATFORM, Role.VIEWER)
    @blueprint.response(200, WorkerSchema(many=True))
    def get(self) -> Response:
        """List all workers, those heard of last first."""
        return jsonify(list_workers())


@blueprint.route("/queues/")
class QueueList(MethodView):
    """The queues of folds."""

    @allow(Role.ADMIN, Role.PLATFORM, Role.VIEWER)
    @blueprint.response(200, QueueSchema(many=True))
    def get(self) -> Response:
        """Show how long the queues are and how fast they move."""
        return jsonify(list_queues())
